"""ConDSeg, Med-DisSeg and DEC-Seg as MONAI components."""

from condseg_monai.losses import (
    ComplementaryLoss,
    ConDSegLoss,
    ConsistencyLoss,
    ConsistencyReinforcementLoss,
    MaskLoss,
    RegionWeight,
    complementary_loss,
    consistency_loss,
    mask_loss,
    region_weight,
)
from condseg_monai.networks import (
    ConDSeg,
    ConDSegOutput,
    ConDSegStage1,
    Encoder,
    RegionPrediction,
    load_encoder_weights,
)
from condseg_monai.version import __version__

__all__ = [
    "ComplementaryLoss",
    "ConDSeg",
    "ConDSegLoss",
    "ConDSegOutput",
    "ConDSegStage1",
    "ConsistencyLoss",
    "ConsistencyReinforcementLoss",
    "Encoder",
    "MaskLoss",
    "RegionPrediction",
    "RegionWeight",
    "__version__",
    "complementary_loss",
    "consistency_loss",
    "load_encoder_weights",
    "mask_loss",
    "region_weight",
]

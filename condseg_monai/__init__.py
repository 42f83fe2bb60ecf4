"""ConDSeg, Med-DisSeg and DEC-Seg as MONAI components."""

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
    "ConDSeg",
    "ConDSegOutput",
    "ConDSegStage1",
    "Encoder",
    "RegionPrediction",
    "__version__",
    "load_encoder_weights",
]

"""Encoders, the papers' modules, whole networks, and conversion of released checkpoints."""

from condseg_monai.networks.batch_norm_folding import fold_batch_norm
from condseg_monai.networks.blocks import TeLU
from condseg_monai.networks.class_names import CLASS_NAMES_KEY, check_class_names, class_names_of, set_class_names
from condseg_monai.networks.encoders import ENCODERS, Encoder, get_encoder, load_encoder_weights
from condseg_monai.networks.nets import (
    ConDSeg,
    ConDSegOutput,
    ConDSegStage1,
    DECSeg,
    DECSegOutput,
    ImageGenerator,
    MedDisSeg,
    MedDisSegOutput,
    MedDisSegStage1,
    MedDisSegStage1Output,
    RegionPrediction,
    SemiSupervisedNetwork,
    SemiSupervisedOutput,
)
from condseg_monai.networks.released.condseg import RELEASED_MODELS, from_released
from condseg_monai.networks.released.conversion import convert_checkpoint

__all__ = [
    "CLASS_NAMES_KEY",
    "ENCODERS",
    "RELEASED_MODELS",
    "ConDSeg",
    "ConDSegOutput",
    "ConDSegStage1",
    "DECSeg",
    "DECSegOutput",
    "Encoder",
    "ImageGenerator",
    "MedDisSeg",
    "MedDisSegOutput",
    "MedDisSegStage1",
    "MedDisSegStage1Output",
    "RegionPrediction",
    "SemiSupervisedNetwork",
    "SemiSupervisedOutput",
    "TeLU",
    "check_class_names",
    "class_names_of",
    "convert_checkpoint",
    "fold_batch_norm",
    "from_released",
    "get_encoder",
    "load_encoder_weights",
    "set_class_names",
]

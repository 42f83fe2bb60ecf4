"""Encoders, the papers' modules, and whole networks."""

from condseg_monai.networks.blocks import TeLU
from condseg_monai.networks.class_names import CLASS_NAMES_KEY, check_class_names, class_names_of, set_class_names
from condseg_monai.networks.encoders import ENCODERS, Encoder, get_encoder, load_encoder_weights
from condseg_monai.networks.fold_batch_norm import fold_batch_norm
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

__all__ = [
    "CLASS_NAMES_KEY",
    "ENCODERS",
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
    "fold_batch_norm",
    "get_encoder",
    "load_encoder_weights",
    "set_class_names",
]

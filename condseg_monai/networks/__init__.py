"""Encoders, the papers' modules, whole networks, and conversion of released checkpoints."""

from condseg_monai.networks.averaged import average_flips
from condseg_monai.networks.blocks.telu import TeLU
from condseg_monai.networks.class_names import class_names_of
from condseg_monai.networks.encoders import Encoder, FeatureEncoder, load_encoder_weights
from condseg_monai.networks.memory_format import use_channels_last
from condseg_monai.networks.methods import network_of
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.networks.nets import (
    ConDSeg,
    ConDSegStage1,
    DECSeg,
    MedDisSeg,
    MedDisSegStage1,
    SemiSupervisedNetwork,
)
from condseg_monai.networks.nets.unet import FlexibleUNet, baseline_unet
from condseg_monai.networks.released.condseg import from_released

__all__ = [
    "ConDSeg",
    "ConDSegStage1",
    "DECSeg",
    "Encoder",
    "FeatureEncoder",
    "FlexibleUNet",
    "MedDisSeg",
    "MedDisSegStage1",
    "ModelCard",
    "SemiSupervisedNetwork",
    "TeLU",
    "average_flips",
    "baseline_unet",
    "class_names_of",
    "from_released",
    "load_encoder_weights",
    "network_of",
    "use_channels_last",
]

"""Encoders, the papers' modules, and whole networks."""

from condseg_monai.networks.encoders import ENCODERS, Encoder, get_encoder, load_encoder_weights
from condseg_monai.networks.nets import ConDSeg, ConDSegOutput, ConDSegStage1, RegionPrediction

__all__ = [
    "ENCODERS",
    "ConDSeg",
    "ConDSegOutput",
    "ConDSegStage1",
    "Encoder",
    "RegionPrediction",
    "get_encoder",
    "load_encoder_weights",
]

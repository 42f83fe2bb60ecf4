"""Whole networks."""

from condseg_monai.networks.nets.condseg import ConDSeg, ConDSegOutput, RegionPrediction
from condseg_monai.networks.nets.condseg_baseline import ConDSegBaseline
from condseg_monai.networks.nets.condseg_stage1 import ConDSegStage1
from condseg_monai.networks.nets.dec_seg import DECSeg, DECSegOutput
from condseg_monai.networks.nets.image_generator import ImageGenerator
from condseg_monai.networks.nets.med_disseg import (
    MedDisSeg,
    MedDisSegOutput,
    MedDisSegStage1,
    MedDisSegStage1Output,
)
from condseg_monai.networks.nets.semi_supervised import SemiSupervisedNetwork, SemiSupervisedOutput

__all__ = [
    "ConDSeg",
    "ConDSegBaseline",
    "ConDSegOutput",
    "ConDSegStage1",
    "DECSeg",
    "DECSegOutput",
    "ImageGenerator",
    "MedDisSeg",
    "MedDisSegOutput",
    "MedDisSegStage1",
    "MedDisSegStage1Output",
    "RegionPrediction",
    "SemiSupervisedNetwork",
    "SemiSupervisedOutput",
]

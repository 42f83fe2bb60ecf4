"""Whole networks."""

from condseg_monai.networks.nets.condseg import ConDSeg, ConDSegOutput, RegionPrediction
from condseg_monai.networks.nets.condseg_stage1 import ConDSegStage1

__all__ = ["ConDSeg", "ConDSegOutput", "ConDSegStage1", "RegionPrediction"]

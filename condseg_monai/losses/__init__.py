"""Losses on logits: each of the paper's equations as a function and a thin module that calls it.

A mask of one channel is binary, of several one class each. ``losses.released`` has those of the released code.
"""

from condseg_monai.losses.class_consistency import ClassConsistencyLoss
from condseg_monai.losses.class_mask import ClassMaskLoss
from condseg_monai.losses.complementary import ComplementaryLoss
from condseg_monai.losses.condseg import ConDSegLoss
from condseg_monai.losses.consistency import ConsistencyLoss
from condseg_monai.losses.consistency_reinforcement import ConsistencyReinforcementLoss
from condseg_monai.losses.dec_seg import DECSegLoss
from condseg_monai.losses.dispersive import DispersiveLoss
from condseg_monai.losses.mask import MaskLoss
from condseg_monai.losses.med_disseg import MedDisSegLoss
from condseg_monai.losses.region_weighting import RegionWeight
from condseg_monai.losses.semi_supervised import SemiSupervisedLoss

__all__ = [
    "ClassConsistencyLoss",
    "ClassMaskLoss",
    "ComplementaryLoss",
    "ConDSegLoss",
    "ConsistencyLoss",
    "ConsistencyReinforcementLoss",
    "DECSegLoss",
    "DispersiveLoss",
    "MaskLoss",
    "MedDisSegLoss",
    "RegionWeight",
    "SemiSupervisedLoss",
]

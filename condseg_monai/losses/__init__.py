"""The losses of ConDSeg, on logits: a function for each of the paper's equations and a thin module that calls it.

A mask of one channel is binary, of several one class each: ``ConDSegLoss`` and ``ConsistencyReinforcementLoss`` choose.

``losses.released`` has the losses of the released code and is imported by nothing here.
"""

from __future__ import annotations

from condseg_monai.losses.class_consistency import ClassConsistencyLoss, class_consistency_loss
from condseg_monai.losses.class_mask import ClassMaskLoss, class_mask_loss
from condseg_monai.losses.complementary import ComplementaryLoss, complementary_loss
from condseg_monai.losses.condseg import ConDSegLoss
from condseg_monai.losses.consistency import ConsistencyLoss, consistency_loss
from condseg_monai.losses.consistency_reinforcement import ConsistencyReinforcementLoss
from condseg_monai.losses.dec_seg import DECSegLoss
from condseg_monai.losses.dispersive import DispersiveLoss, dispersive_loss
from condseg_monai.losses.mask import MaskLoss, mask_loss
from condseg_monai.losses.med_disseg import MedDisSegLoss
from condseg_monai.losses.region_weighting import RegionWeight, region_weight
from condseg_monai.losses.semi_supervised import SemiSupervisedLoss, probability_distance

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
    "class_consistency_loss",
    "class_mask_loss",
    "complementary_loss",
    "consistency_loss",
    "dispersive_loss",
    "mask_loss",
    "probability_distance",
    "region_weight",
]

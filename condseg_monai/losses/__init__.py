"""Losses on logits: a mask of one channel is binary, of several one class each.

Each of the paper's equations is a function in the module of its name; ``losses.released`` has the released code's.
"""

from condseg_monai.losses.condseg import ConDSegLoss
from condseg_monai.losses.consistency_reinforcement import ConsistencyReinforcementLoss
from condseg_monai.losses.dec_seg import DECSegLoss
from condseg_monai.losses.dispersive import DispersiveLoss
from condseg_monai.losses.mask import MaskLoss
from condseg_monai.losses.med_disseg import MedDisSegLoss
from condseg_monai.losses.released import ReleasedConDSegLoss, ReleasedConsistencyReinforcementLoss
from condseg_monai.losses.semi_supervised import SemiSupervisedLoss

__all__ = [
    "ConDSegLoss",
    "ConsistencyReinforcementLoss",
    "DECSegLoss",
    "DispersiveLoss",
    "MaskLoss",
    "MedDisSegLoss",
    "ReleasedConDSegLoss",
    "ReleasedConsistencyReinforcementLoss",
    "SemiSupervisedLoss",
]

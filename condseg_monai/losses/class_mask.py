"""Mask loss for several classes: softmax cross-entropy plus Dice, per image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from condseg_monai.losses._common import (
    PerImageLoss,
    balanced_mean,
    check_balance,
    check_class_target,
    check_floating,
    check_weight,
    full_precision,
    reduce_images,
)

__all__ = ["ClassMaskLoss", "class_mask_loss"]

SMOOTH = 1e-5  # as for one class


def class_mask_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", lambda_ce: float = 1.0, balance: float = 0.0
) -> Tensor:
    """Add softmax cross-entropy and Dice, both taken per image and then averaged.

    Source: ConDSeg (AAAI 2025), Eq. 2-4, for C classes: the sum of Eq. 2 over two outcomes becomes one over C, and
    Eq. 3 is averaged over the classes an image has, background included. (TransUNet averages Dice over all classes of
    a batch; absent ones would dilute that of the few an image has.)

    Args:
        input: ``(B, C, H, W)`` logits with C >= 2. Computed in float32 (float64 stays), autocast or not.
        target: ``(B, 1, H, W)`` class numbers, 0 (background) to C - 1, any real type; checked on the CPU only.
        reduction: ``"mean"`` over the images, ``"sum"``, or ``"none"`` for ``(B,)``.
        lambda_ce: factor of the cross-entropy; the paper's is 1.
        balance: in [0, 1]: in the cross-entropy each of the n pixels of a class in an image weighs ``n ** -balance``.
            0: all pixels alike, as in Eq. 2; 1: all classes of the image alike.

    Returns:
        Scalar, or ``(B,)``, >= 0: 0 for a certain and right prediction.

    Example:
        >>> import torch
        >>> target = torch.tensor([[[[0, 1], [2, 2]]]])
        >>> round(class_mask_loss(torch.zeros(1, 3, 2, 2), target).item(), 4)  # log 3 + (5/7 + 5/7 + 3/5) / 3
        1.7748
    """
    check_floating("input", input, channels=None)
    check_class_target("target", target, "input", input)
    check_weight("lambda_ce", lambda_ce)
    check_balance("balance", balance)
    with full_precision(input) as (logits,):
        labels = target[:, 0].long()  # (B, H, W)
        classes = torch.arange(logits.shape[1], device=logits.device).reshape(1, -1, 1, 1)
        members = (labels.unsqueeze(1) == classes).to(logits)  # (B, C, H, W)
        cross_entropy = _cross_entropy(logits, labels, members, balance)
        return reduce_images(lambda_ce * cross_entropy + _dice(logits.softmax(dim=1), members), reduction)


def _cross_entropy(logits: Tensor, labels: Tensor, members: Tensor, balance: float) -> Tensor:
    """Eq. 2 for C classes, ``(B,)``."""
    losses = F.cross_entropy(logits, labels, reduction="none")
    if balance == 0:
        return losses.mean(dim=(1, 2))
    return balanced_mean(losses.unsqueeze(1), members, balance)


def _dice(probs: Tensor, members: Tensor) -> Tensor:
    """Eq. 3, averaged over the classes that an image has, ``(B,)``."""
    intersection = (probs * members).sum(dim=(2, 3))
    total = probs.sum(dim=(2, 3)) + members.sum(dim=(2, 3))
    dice = 1 - (2 * intersection + SMOOTH) / (total + SMOOTH)  # (B, C)
    present = members.amax(dim=(2, 3))  # 1 for at least one class of each image
    return (present * dice).sum(dim=1) / present.sum(dim=1)


class ClassMaskLoss(PerImageLoss):
    """:func:`class_mask_loss` as a module, with its arguments."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of logits ``(B, C, H, W)`` against class numbers ``(B, 1, H, W)``."""
        return class_mask_loss(input, target, reduction=self.reduction, lambda_ce=self.lambda_ce, balance=self.balance)

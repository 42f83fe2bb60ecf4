"""Mask loss: binary cross-entropy plus Dice, per image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from condseg_monai.losses._common import (
    PerImageLoss,
    balanced_mean,
    check_balance,
    check_floating,
    check_same_shape,
    check_target,
    check_weight,
    full_precision,
    reduce_images,
)

__all__ = ["MaskLoss", "mask_loss"]

SMOOTH = 1e-5  # decides 0 / 0 in the Dice term: an empty prediction of an empty mask costs nothing


def mask_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", lambda_ce: float = 1.0, balance: float = 0.0
) -> Tensor:
    """Add binary cross-entropy and Dice, both taken per image and then averaged.

    Source: ConDSeg (AAAI 2025), Eq. 2-4. Dice is taken per image: over a batch it would depend on the batch size and
    the number of GPUs, and large lesions would hide small ones.

    Args:
        input: ``(B, 1, H, W)`` logits. Computed in float32 (float64 stays), autocast or not.
        target: ``(B, 1, H, W)`` in [0, 1], any real type.
        reduction: ``"mean"`` over the images, ``"sum"``, or ``"none"`` for ``(B,)``.
        lambda_ce: factor of the cross-entropy; the paper's is 1. A smaller one segments doubtful lesions larger.
        balance: in [0, 1]: in the cross-entropy each of the n pixels of foreground, and likewise of background, weighs
            ``n ** -balance``. 0: all pixels alike, as in Eq. 2; 1: both classes alike. Where ``target`` is between 0
            and 1, a pixel counts for both in these shares.

    Returns:
        Scalar, or ``(B,)``, >= 0: 0 for a certain and right prediction. Finite for finite logits, empty masks included.

    Example:
        >>> import torch
        >>> target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
        >>> round(mask_loss(torch.zeros(1, 1, 2, 2), target).item(), 4)  # log 2 + 1 / 2
        1.1931
    """
    check_floating("input", input)
    check_target("target", target)
    check_same_shape("input", input, "target", target)
    check_weight("lambda_ce", lambda_ce)
    check_balance("balance", balance)
    with full_precision(input, target) as (logits, labels):
        per_image = lambda_ce * _cross_entropy(logits, labels, balance) + _dice(logits.sigmoid(), labels)
        return reduce_images(per_image, reduction)


def _cross_entropy(logits: Tensor, labels: Tensor, balance: float) -> Tensor:
    """Eq. 2, ``(B,)``; from the logits, so that a saturated prediction keeps a finite value and gradient."""
    losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    if balance == 0:
        return losses.mean(dim=(1, 2, 3))
    return balanced_mean(losses, torch.cat([1 - labels, labels], dim=1), balance)


def _dice(probs: Tensor, labels: Tensor) -> Tensor:
    """Eq. 3, ``(B,)``."""
    intersection = (probs * labels).sum(dim=(1, 2, 3))
    total = probs.sum(dim=(1, 2, 3)) + labels.sum(dim=(1, 2, 3))
    return 1 - (2 * intersection + SMOOTH) / (total + SMOOTH)


class MaskLoss(PerImageLoss):
    """:func:`mask_loss` as a module, with its arguments."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of logits ``(B, 1, H, W)`` against a target of the same shape."""
        return mask_loss(input, target, reduction=self.reduction, lambda_ce=self.lambda_ce, balance=self.balance)

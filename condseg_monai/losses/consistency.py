"""Consistency loss: cross-entropy of each view against the other view's binarised mask."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai.losses._common import check_floating, check_same_shape, check_threshold, full_precision

__all__ = ["ConsistencyLoss", "consistency_loss"]


def consistency_loss(clean: Tensor, augmented: Tensor, threshold: float = 0.5) -> Tensor:
    """Average the cross-entropy of each view's prediction against the other view's binarised prediction.

    Source: ConDSeg (AAAI 2025), Eq. 5 and 6, factor 1/2 included, which the released code leaves out. The binarised
    masks are constants without gradient.

    Args:
        clean: ``(B, 1, H, W)`` logits of the clean views. Computed in float32 (float64 stays).
        augmented: ``(B, 1, H, W)`` logits of the augmented views, in the same order.
        threshold: probability, in (0, 1), from which (included) a pixel is foreground.

    Returns:
        Scalar >= 0: 0 when both are certain and agree everywhere. Symmetric in its two views.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 1, 4, 4)  # probability 1/2 counts as foreground: -log(1/2)
        >>> round(consistency_loss(logits, logits).item(), 4)
        0.6931
    """
    check_floating("clean", clean)
    check_floating("augmented", augmented)
    check_same_shape("clean", clean, "augmented", augmented)
    cut = check_threshold(threshold)
    cut = math.log(cut / (1 - cut))  # as a logit: exact where a rounded sigmoid would not be
    with full_precision(clean, augmented) as (first, second):
        first_mask, second_mask = (first >= cut).to(first), (second >= cut).to(second)  # a comparison has no gradient
        from_second = F.binary_cross_entropy_with_logits(first, second_mask)
        from_first = F.binary_cross_entropy_with_logits(second, first_mask)
        return 0.5 * (from_second + from_first)


class ConsistencyLoss(nn.Module):
    """:func:`consistency_loss` as a module, with its argument ``threshold``."""

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = check_threshold(threshold)

    def forward(self, clean: Tensor, augmented: Tensor) -> Tensor:
        """Compute the loss of two views' logits, both ``(B, 1, H, W)``."""
        return consistency_loss(clean, augmented, threshold=self.threshold)

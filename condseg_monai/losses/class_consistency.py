"""Consistency loss for several classes: cross-entropy against the other view's most probable class."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai.losses._common import check_floating, check_same_shape, full_precision

__all__ = ["ClassConsistencyLoss", "class_consistency_loss"]


def class_consistency_loss(clean: Tensor, augmented: Tensor) -> Tensor:
    """Average the cross-entropy of each view's prediction against the other view's most probable class.

    Source: ConDSeg (AAAI 2025), Eq. 5 and 6, for C classes: the threshold of Eq. 5 becomes the arg-max, Eq. 6 stays,
    its factor 1/2 included. The decisions are constants without gradient. Of two classes it is
    :func:`consistency_loss` of the difference of the logits at 1/2, except for equal logits, background here.

    Args:
        clean: ``(B, C, H, W)`` logits of the clean views with C >= 2. Computed in float32 (float64 stays).
        augmented: ``(B, C, H, W)`` logits of the augmented views, in the same order.

    Returns:
        Scalar >= 0: 0 when both are certain and agree everywhere. Symmetric in its two views.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 9, 4, 4)  # -log(1/9)
        >>> round(class_consistency_loss(logits, logits).item(), 4)
        2.1972
    """
    check_floating("clean", clean, channels=None)
    check_floating("augmented", augmented, channels=None)
    check_same_shape("clean", clean, "augmented", augmented)
    with full_precision(clean, augmented) as (first, second):
        from_second = F.cross_entropy(first, second.argmax(dim=1))  # an index has no gradient
        from_first = F.cross_entropy(second, first.argmax(dim=1))
        return 0.5 * (from_second + from_first)


class ClassConsistencyLoss(nn.Module):
    """:func:`class_consistency_loss` as a module."""

    def forward(self, clean: Tensor, augmented: Tensor) -> Tensor:
        """Compute the loss of two views' logits, both ``(B, C, H, W)``."""
        return class_consistency_loss(clean, augmented)

"""Consistency loss: cross-entropy of each view against what the other view decides."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from condseg_monai.losses._common import check_logits, check_number, check_same_shape, full_precision

__all__ = ["consistency_loss"]


def consistency_loss(clean: Tensor, augmented: Tensor, threshold: float = 0.5) -> Tensor:
    """Average the cross-entropy of each view's prediction against the other view's binarised prediction.

    Source: ConDSeg (AAAI 2025), Eq. 5 and 6, factor 1/2 included, which the released code leaves out. For C classes the
    threshold of Eq. 5 becomes the arg-max. The decisions are constants without gradient.

    Args:
        clean: ``(B, C, H, W)`` logits of the clean views. Computed in float32 (float64 stays).
        augmented: ``(B, C, H, W)`` logits of the augmented views, in the same order.
        threshold: probability, in (0, 1), from which (included) a pixel is foreground; several classes have none.

    Returns:
        Scalar >= 0: 0 when both are certain and agree everywhere. Symmetric in its two views.

    Raises:
        TypeError: if a view is not floating point.
        ValueError: if the shapes are not these, or ``threshold`` is out of range.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 1, 4, 4)  # probability 1/2 counts as foreground: -log(1/2)
        >>> round(consistency_loss(logits, logits).item(), 4)
        0.6931
    """
    check_logits("clean", clean)
    check_logits("augmented", augmented)
    check_same_shape("clean", clean, "augmented", augmented)
    check_number("threshold", threshold, "(0, 1)")
    with full_precision(clean, augmented) as (first, second):
        if first.shape[1] > 1:
            from_second = F.cross_entropy(first, second.argmax(dim=1))
            from_first = F.cross_entropy(second, first.argmax(dim=1))
        else:
            cut = math.log(threshold / (1 - threshold))  # as a logit: exact where a rounded sigmoid would not be
            from_second = F.binary_cross_entropy_with_logits(first, (second >= cut).to(first))
            from_first = F.binary_cross_entropy_with_logits(second, (first >= cut).to(second))
        return 0.5 * (from_second + from_first)

"""Complementary loss: foreground, background and uncertainty share the image without overlap."""

from __future__ import annotations

from torch import Tensor

from condseg_monai.losses._common import check_logits, full_precision

__all__ = ["complementary_loss"]


def complementary_loss(region_probs: Tensor) -> Tensor:
    """Penalise pixels claimed by more than one region.

    Source: ConDSeg (AAAI 2025), Eq. 10.  Note: the released code applies a sigmoid before the softmax that makes the
    probabilities; ``ConDSegLoss`` does not.

    Args:
        region_probs: ``(B, 3, H, W)`` in [0, 1], summing to 1 over dim 1: foreground, background, uncertainty.
            Computed in float32 (float64 stays), autocast or not.

    Returns:
        Scalar in [0, 1/3]: 0 when each pixel has one region, 1/3 when the three are equal everywhere.

    Raises:
        TypeError: if ``region_probs`` is not floating point.
        ValueError: if ``region_probs`` is not ``(B, 3, H, W)``.

    Example:
        >>> import torch
        >>> round(complementary_loss(torch.full((2, 3, 4, 4), 1 / 3)).item(), 4)
        0.3333
    """
    check_logits("region_probs", region_probs, channels=3)
    with full_precision(region_probs) as (probs,):
        foreground, background, uncertainty = probs.unbind(dim=1)  # each (B, H, W)
        return (foreground * background + foreground * uncertainty + background * uncertainty).mean()

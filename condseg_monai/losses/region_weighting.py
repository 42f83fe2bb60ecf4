"""Region weight of ConDSeg's losses: the smaller the predicted region, the larger its weight."""

from __future__ import annotations

import math

from torch import Tensor

from condseg_monai.losses._common import check_logits, check_number, full_precision

__all__ = ["region_weight"]


def region_weight(input: Tensor, ceiling: float = 100.0) -> Tensor:
    """Weigh each image by ``1 / tanh(mean predicted probability)``, at most ``ceiling``.

    Source: ConDSeg (AAAI 2025), Eq. 9: a differentiable function of the prediction, as the equation is written. The
    ceiling, which the paper does not have, is reached where less than about 1 % of an image is predicted; there the
    gradient is 0, and an empty prediction stays finite.

    Args:
        input: ``(B, 1, H, W)`` logits of one region. Computed in float32 (float64 stays).
        ceiling: largest weight, finite and above 1.

    Returns:
        ``(B,)`` in [1 / tanh(1), ceiling], that is from 1.313.

    Raises:
        TypeError: if ``input`` is not floating point.
        ValueError: if ``input`` is not ``(B, 1, H, W)``, or ``ceiling`` is out of range.

    Example:
        >>> import torch
        >>> logits = torch.tensor([0.0, -1e4]).reshape(2, 1, 1, 1).expand(2, 1, 4, 4)  # half of it, and nothing
        >>> [round(weight, 3) for weight in region_weight(logits).tolist()]
        [2.164, 100.0]
    """
    check_logits("input", input, channels=1)
    # Bounding the mean instead of the weight keeps 1 / 0, and its gradient, from ever being computed.
    smallest_mean = math.atanh(1 / check_number("ceiling", ceiling, "(1, inf)"))
    with full_precision(input) as (logits,):
        return 1 / logits.sigmoid().mean(dim=(1, 2, 3)).clamp(min=smallest_mean).tanh()

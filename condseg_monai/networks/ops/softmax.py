"""Softmax computed in float32."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["float32_softmax"]


def float32_softmax(x: Tensor, dim: int) -> Tensor:
    """Softmax in float32 (float64 stays). Autocast does that on a GPU, and on a CPU computes it in bfloat16.

    Example:
        >>> float32_softmax(torch.zeros(2, dtype=torch.bfloat16), 0)
        tensor([0.5000, 0.5000])
    """
    return torch.softmax(x if x.dtype == torch.float64 else x.float(), dim=dim)

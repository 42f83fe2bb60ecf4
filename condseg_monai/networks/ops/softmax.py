"""Softmax in full precision, in mixed precision on every device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["float32_softmax"]


def float32_softmax(x: Tensor, dim: int) -> Tensor:
    """Softmax computed in float32 (float64 stays) and rounded once to the type of ``x``.

    PyTorch's own computes bfloat16 in bfloat16 on a CPU, and under autocast leaves float32 behind on a GPU.

    Example:
        >>> float32_softmax(torch.zeros(2, dtype=torch.bfloat16), 0)
        tensor([0.5000, 0.5000], dtype=torch.bfloat16)
    """
    return torch.softmax(x if x.dtype == torch.float64 else x.float(), dim=dim).to(x.dtype)

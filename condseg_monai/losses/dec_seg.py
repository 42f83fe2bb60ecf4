"""Supervised loss of DEC-Seg: the mask loss of each output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from condseg_monai.losses._common import Terms
from condseg_monai.losses.mask import mask_loss

__all__ = ["DECSegLoss"]


class DECSegLoss(nn.Module):
    """Half the cross-entropy plus Dice, added over the full scale, the down scale and their fusion.

    Source: DEC-Seg, its supervised loss. After each call ``terms`` holds each output's share, detached.

    Args:
        loss: the loss of one output, ``(logits, target) -> scalar``; None for :func:`mask_loss`.

    Example:
        >>> loss = DECSegLoss()
        >>> round(loss(torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)).item(), 4)  # (log 2 + 1 / 3) / 2
        0.5132
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.loss: Callable[[Tensor, Tensor], Tensor] = mask_loss if loss is None else loss
        self.terms: Terms = {}

    def forward(self, input: Any, target: Tensor) -> Tensor:
        """Compute the loss, a scalar.

        Args:
            input: a ``DECSegOutput``, or a tensor of mask logits.
            target: what ``loss`` takes with the logits; for :func:`mask_loss` ``(B, 1, H, W)``.
        """
        self.terms = {}
        outputs = {"mask": input} if isinstance(input, Tensor) else input._asdict()
        shares = {name: 0.5 * self.loss(logits, target) for name, logits in outputs.items() if logits is not None}
        self.terms = {name: share.detach() for name, share in shares.items()}
        return torch.stack(list(shares.values())).sum()

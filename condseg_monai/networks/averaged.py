"""Test-time augmentation: the mean probability of an image and its flips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from condseg_monai.networks.nets.condseg import RegionPrediction

__all__ = ["FlipAveragedNetwork", "average_flips"]

_FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
_TINY = 1e-7


class FlipAveragedNetwork(nn.Module):
    """Mean probability of an image and its horizontal, vertical and double flip, as logits; for evaluation only.

    ``predict_regions`` is there if the network has one, and averages the regions' probabilities likewise.

    Args:
        network: gives logits ``(B, C, H, W)``: by sigmoid if C is 1, else by softmax.

    Example:
        >>> network = FlipAveragedNetwork(nn.Conv2d(3, 1, 3, padding=1))
        >>> image = torch.rand(1, 3, 8, 8)
        >>> torch.testing.assert_close(network(image.flip(-1)), network(image).flip(-1))
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        if hasattr(network, "predict_regions"):
            self.predict_regions = self._predict_regions

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits of the mean probability."""
        return self._average(x, lambda image: (self.network(image),))[0]

    def _predict_regions(self, x: Tensor) -> RegionPrediction:
        predict: Any = self.network.predict_regions
        return RegionPrediction(*self._average(x, predict))

    def _average(self, x: Tensor, predict: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]:
        sums: list[Tensor] = []
        for dims in _FLIPS:
            mask, *others = predict(x.flip(dims) if dims else x)
            probs = mask.float().sigmoid() if mask.shape[1] == 1 else mask.float().softmax(dim=1)
            results = [value.flip(dims) if dims else value for value in (probs, *(o.float() for o in others))]
            sums = [a + b for a, b in zip(sums, results, strict=True)] if sums else results
        probs, *others = (value / len(_FLIPS) for value in sums)
        logits = torch.logit(probs, eps=_TINY) if probs.shape[1] == 1 else probs.clamp_min(_TINY).log()
        return [logits, *others]


def average_flips(network: nn.Module, flips: bool = True) -> nn.Module:
    """Return the network, or with ``flips`` its mean over the flips of an image."""
    return FlipAveragedNetwork(network) if flips else network

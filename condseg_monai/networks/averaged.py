"""Ensembles and test-time augmentation: the mean probability of several networks and of flipped images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from condseg_monai.networks.nets.condseg import RegionPrediction

__all__ = ["AveragedNetwork", "average_flips"]

_FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
_TINY = 1e-7


class AveragedNetwork(nn.Module):
    """Mean probability of several networks, and of the image and its three flips, as logits; for evaluation only.

    Its ``predict_regions`` is there if every network has one, and averages the regions' probabilities likewise.

    Args:
        networks: with the same input and output, ``(B, C, H, W)`` logits: by sigmoid if C is 1, else by softmax.
        flips: average over horizontal, vertical and both flips too: four passes each.

    Example:
        >>> network = AveragedNetwork([nn.Conv2d(3, 1, 3, padding=1)], flips=True)
        >>> image = torch.rand(1, 3, 8, 8)
        >>> torch.testing.assert_close(network(image.flip(-1)), network(image).flip(-1))
    """

    def __init__(self, networks: Sequence[nn.Module], flips: bool = False) -> None:
        super().__init__()
        if not networks:
            raise ValueError("networks must be one or more, got none")
        self.networks = nn.ModuleList(networks)
        self.flips = _FLIPS if flips else _FLIPS[:1]
        if all(hasattr(network, "predict_regions") for network in networks):
            self.predict_regions = self._predict_regions

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits of the mean probability."""
        return self._average(x, lambda network, image: (network(image),))[0]

    def _predict_regions(self, x: Tensor) -> RegionPrediction:
        return RegionPrediction(*self._average(x, lambda network, image: network.predict_regions(image)))

    def _average(self, x: Tensor, predict: Callable[[Any, Tensor], Sequence[Tensor]]) -> list[Tensor]:
        sums: list[Tensor] = []
        for network in self.networks:
            for dims in self.flips:
                mask, *others = predict(network, x.flip(dims) if dims else x)
                probs = mask.float().sigmoid() if mask.shape[1] == 1 else mask.float().softmax(dim=1)
                results = [value.flip(dims) if dims else value for value in (probs, *(o.float() for o in others))]
                sums = [a + b for a, b in zip(sums, results, strict=True)] if sums else results
        number = len(self.networks) * len(self.flips)
        probs, *others = (value / number for value in sums)
        logits = torch.logit(probs, eps=_TINY) if probs.shape[1] == 1 else probs.clamp_min(_TINY).log()
        return [logits, *others]


def average_flips(network: nn.Module, flips: bool = True) -> nn.Module:
    """Return the network, or with ``flips`` its mean over the flips of an image."""
    return AveragedNetwork([network], flips=True) if flips else network

"""Sampler of slices: all with an organ, and a share of empty ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

__all__ = ["OrganSampler"]


class OrganSampler(Sampler[int]):
    """Draw, for every epoch anew, all slices with an organ and some of those without, in random order.

    ``data`` has ``has_organ`` for each slice, as :func:`~condseg_monai.data.check_slices` gives it; ``empty_share`` is
    the largest share of an epoch's slices that may be empty, in [0, 1]; 1 takes every slice.

    Example:
        >>> sampler = OrganSampler([{"has_organ": True}] * 6 + [{"has_organ": False}] * 50, empty_share=0.25)
        >>> len(sampler), len(set(sampler)), sum(index < 6 for index in sampler)
        (8, 8, 6)
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], empty_share: float = 0.1) -> None:
        if not 0 <= empty_share <= 1:
            raise ValueError(f"empty_share must be in [0, 1], got {empty_share}")
        self.full = [index for index, case in enumerate(data) if case["has_organ"]]
        self.empty = [index for index, case in enumerate(data) if not case["has_organ"]]
        wanted = len(self.empty)
        if empty_share < 1 and self.full:
            wanted = math.floor(len(self.full) * empty_share / (1 - empty_share) + 1e-9)
        self.num_empty = min(len(self.empty), wanted)

    def __len__(self) -> int:
        return len(self.full) + self.num_empty

    def __iter__(self) -> Iterator[int]:
        chosen = torch.randperm(len(self.empty))[: self.num_empty].tolist()
        indices = [*self.full, *(self.empty[i] for i in chosen)]
        yield from (indices[i] for i in torch.randperm(len(indices)).tolist())

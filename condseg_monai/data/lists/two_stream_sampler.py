"""Two-stream batch sampler: a fixed number of labelled and of unlabelled cases."""

from __future__ import annotations

from collections.abc import Iterator

import ignite.distributed as idist
import torch
from torch.utils.data import Sampler

__all__ = ["TwoStreamBatchSampler"]


class TwoStreamBatchSampler(Sampler[list[int]]):
    """Draw each batch from two streams: labelled cases, indices ``0 .. labeled - 1``, then unlabelled ones.

    An epoch is one pass over the shuffled labelled cases; the last batch is filled up with the first of that order. The
    unlabelled cases run through their own shuffled passes, from epoch to epoch; a batch size of 0 leaves them out.
    Batches depend on ``seed`` and the epoch alone. In a distributed run every process takes its own part of each step's
    cases, and an epoch has fewer steps.

    Example:
        >>> sampler = TwoStreamBatchSampler(labeled=3, unlabeled=4, labeled_batch_size=1, unlabeled_batch_size=2)
        >>> [[index < 3 for index in batch] for batch in sampler]
        [[True, False, False], [True, False, False], [True, False, False]]
    """

    def __init__(
        self, labeled: int, unlabeled: int, labeled_batch_size: int, unlabeled_batch_size: int, seed: int = 0
    ) -> None:
        if labeled < 1:
            raise ValueError("there is no labelled case")
        if labeled_batch_size < 1 or unlabeled_batch_size < 0:
            raise ValueError(
                "labeled_batch_size must be positive and unlabeled_batch_size not negative, got "
                f"{labeled_batch_size} and {unlabeled_batch_size}"
            )
        if unlabeled_batch_size > 0 and unlabeled < 1:
            raise ValueError(
                f"there is no unlabelled case for unlabeled_batch_size={unlabeled_batch_size}; set it to 0 to train on "
                "the labelled cases alone"
            )
        self.labeled, self.unlabeled = labeled, unlabeled
        self.labeled_batch_size, self.unlabeled_batch_size = labeled_batch_size, unlabeled_batch_size
        self.seed, self.epoch = seed, 0

    @property
    def batch_size(self) -> int:
        """Cases in a batch."""
        return self.labeled_batch_size + self.unlabeled_batch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        self.epoch = epoch

    def __len__(self) -> int:
        step = self.labeled_batch_size * idist.get_world_size()
        return -(-self.labeled // step)

    def __iter__(self) -> Iterator[list[int]]:
        rank, processes = idist.get_rank(), idist.get_world_size()
        order = self._order(self.labeled, stream=0, number=self.epoch)
        for step in range(self.epoch * len(self), (self.epoch + 1) * len(self)):
            start = ((step - self.epoch * len(self)) * processes + rank) * self.labeled_batch_size
            labeled = [order[i % self.labeled] for i in range(start, start + self.labeled_batch_size)]
            yield labeled + self._unlabeled((step * processes + rank) * self.unlabeled_batch_size)

    def _unlabeled(self, start: int) -> list[int]:
        """The cases at places ``start ...`` of an endless row of shuffled passes."""
        cases = []
        for place in range(start, start + self.unlabeled_batch_size):
            order = self._order(self.unlabeled, stream=1, number=place // self.unlabeled)
            cases.append(self.labeled + order[place % self.unlabeled])
        return cases

    def _order(self, count: int, stream: int, number: int) -> list[int]:
        # A new generator for every pass, so that no state has to be saved with a training.
        generator = torch.Generator().manual_seed((self.seed * 2 + stream) * 1_000_003 + number)
        return torch.randperm(count, generator=generator).tolist()

"""Processes that share a run, as torchrun starts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch.distributed as dist

__all__ = ["gather_lists", "process_count", "process_rank"]

T = TypeVar("T")


def process_count() -> int:
    """How many processes share this run; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """The number of this process among those that share the run, 0 for the first."""
    return dist.get_rank() if process_count() > 1 else 0


def gather_lists(items: Sequence[T]) -> list[T]:
    """The items of all processes, those of the first before those of the second; every process has to call it."""
    if process_count() == 1:
        return list(items)
    found: list[Any] = [None] * process_count()
    dist.all_gather_object(found, list(items))
    return [item for part in found for item in part]

"""Lists of the processes that share a run, as torchrun starts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import ignite.distributed as idist

__all__ = ["gather_lists"]

T = TypeVar("T")


def gather_lists(items: Sequence[T]) -> list[T]:
    """The items of all processes, those of the first before those of the second; every process has to call it."""
    parts: Any = idist.all_gather(list(items))
    return [item for part in parts for item in part]

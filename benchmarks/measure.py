"""Time and memory of a step."""

from __future__ import annotations

import resource
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["PeakTensorBytes", "interleave", "peak_rss_bytes"]

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def interleave(
    steps: Mapping[str, Callable[[], Tensor]], repeats: int, clock: str = "wall", warm_up: int = 1
) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Time several steps in turn, so that a machine whose speed drifts is as slow for one as for the other.

    Args:
        steps: what to time, by name.
        repeats: how often, after ``warm_up`` turns that do not count.
        clock: ``"wall"``, or ``"cpu"`` for the processor time of this process, which waiting for other processes on a
            shared machine does not add to.
        warm_up: turns that are not counted.

    Returns:
        Seconds of each repeat, and the result of the first call, by name.
    """
    now = CLOCKS[clock]
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    results: dict[str, Tensor] = {}
    for turn in range(warm_up + repeats):
        for name, step in steps.items():
            started = now()
            result = step()
            if turn >= warm_up:
                seconds[name].append(now() - started)
            results.setdefault(name, result)
    return seconds, results


class PeakTensorBytes(TorchDispatchMode):
    """Count the bytes of all tensors alive that were made in it, and remember the most: ``peak``.

    The same on every machine, unlike the memory of a process: no allocator, no library's scratch memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count what it allocated."""
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in given:  # views, in place, out=
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def peak_rss_bytes() -> int:
    """The most memory this process ever had."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts what the process that started this one had at that moment into ru_maxrss
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

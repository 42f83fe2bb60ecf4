"""Time and memory of a step."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["CLOCKS", "interleave", "peak_rss_bytes", "synchronize"]

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def interleave(
    steps: Mapping[str, Callable[[], Tensor]],
    repeats: int,
    clock: str = "wall",
    warm_up: int = 1,
    device: str = "cpu",
) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Time several steps in turn, so that a machine whose speed drifts is as slow for one as for the other.

    Args:
        steps: what to time, by name.
        repeats: how often, after ``warm_up`` turns that do not count.
        clock: ``"wall"``, or ``"cpu"`` for the processor time of this process, which waiting for other processes on a
            shared machine does not add to.
        warm_up: turns that are not counted.
        device: where the steps compute; the clock is read when it has nothing left to do.

    Returns:
        Seconds of each repeat, and the result of the first call, by name.
    """
    now = CLOCKS[clock]
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    results: dict[str, Tensor] = {}
    for turn in range(warm_up + repeats):
        for name, step in steps.items():
            synchronize(device)
            started = now()
            result = step()
            synchronize(device)
            if turn >= warm_up:
                seconds[name].append(now() - started)
            results.setdefault(name, result)
    return seconds, results


def synchronize(device: str) -> None:
    """Wait for a device other than the CPU."""
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize()


def peak_rss_bytes() -> int:
    """The most memory this process ever had."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts what the process that started this one had at that moment into ru_maxrss
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

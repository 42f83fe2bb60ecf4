"""Read one damaged file after another, with a time limit for each, and count what comes of them."""

from __future__ import annotations

import faulthandler
import sys
import time
from collections import Counter
from collections.abc import Callable, Container


class Outcomes:
    """Counts of outcomes by kind of file.

    Args:
        good: those that are no fault.
        seed: of the files, named with each that fails.
        timeout_s: for one file; the process ends after it, and the last line printed names the file.
    """

    def __init__(self, good: Container[str], seed: int, timeout_s: float) -> None:
        self.good, self.seed, self.timeout_s = good, seed, timeout_s
        self.counts: Counter[tuple[str, str]] = Counter()
        self.slowest_s = 0.0

    def note(self, kind: str, name: str, read: Callable[[], str]) -> None:
        """Read a file, and count its outcome up to a colon."""
        print(f"{name} ({kind})", end="\r", flush=True)
        faulthandler.dump_traceback_later(self.timeout_s, exit=True, file=sys.__stderr__)
        start = time.perf_counter()
        outcome = read()
        self.slowest_s = max(self.slowest_s, time.perf_counter() - start)
        faulthandler.cancel_dump_traceback_later()
        self.counts[kind, outcome.partition(":")[0]] += 1
        if outcome not in self.good:
            print(f"FAILED {name} ({kind}, seed {self.seed}): {outcome}")

    def report(self) -> int:
        """Print all counts; 1 if there was a fault."""
        for (kind, outcome), count in sorted(self.counts.items()):
            print(f"{kind:20}{outcome:30}{count:6}")
        print(f"slowest file {self.slowest_s:.1f} s")
        return int(any(outcome not in self.good for _, outcome in self.counts))

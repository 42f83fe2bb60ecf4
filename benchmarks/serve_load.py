"""Time a running ``condseg serve`` under requests that come at once.

    condseg serve condseg_polyp --max_requests 256 &
    python -m benchmarks.serve_load http://127.0.0.1:8000 frame.png --requests 200

Latency is from a request to its whole answer; answers that are no masks, 503 for one, are counted and not timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2


def main(arguments: Sequence[str] | None = None) -> None:
    """Send the requests and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("image", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--at_once", type=int, default=200)
    options = parser.parse_args(arguments)
    content = options.image.read_bytes()
    limits = httpx2.Limits(max_connections=options.at_once)

    with httpx2.Client(timeout=600, limits=limits) as client, ThreadPoolExecutor(options.at_once) as pool:

        def predict(_: int) -> tuple[int, float]:
            started = time.perf_counter()
            files = {"file": (options.image.name, content)}
            response = client.post(f"{options.address}/predict", params={"format": "png"}, files=files)
            return response.status_code, time.perf_counter() - started

        started = time.perf_counter()
        answers = list(pool.map(predict, range(options.requests)))
        seconds = time.perf_counter() - started
    counts = Counter(status for status, _ in answers)
    latencies = sorted(latency for status, latency in answers if status == 200)
    print(", ".join(f"{count} times {status}" for status, count in sorted(counts.items())))
    print(
        f"{seconds:.1f} s, {counts[200] / seconds:.1f} masks a second; latency {statistics.median(latencies):.2f} s "
        f"(median), {latencies[int(0.95 * (len(latencies) - 1))]:.2f} s (95 %)"
    )


if __name__ == "__main__":
    main()

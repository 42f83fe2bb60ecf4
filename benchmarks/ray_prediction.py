"""Time ``condseg predict`` in one process and by the workers of a local Ray cluster: images a second, and a CPU-second.

python -m benchmarks.ray_prediction --images 200 --workers 2

Linux alone: processor times come from ``/proc``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from condseg_monai import make_synthetic_dataset

MARK = "CONDSEG_BENCHMARK"


def main() -> None:
    """Print a line of the table for one process, and one for the cluster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="condseg_polyp")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--image_size", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2, help="of the cluster; 0 for one process alone")
    options = parser.parse_args()
    print("| | images a second | processor time an image | until the first image |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_synthetic_dataset(root, options.images - 1, 1, 0, image_size=options.image_size)
        alone = ["--num_workers", "0"]
        cluster = [*alone, "--ray", "local", "--ray_workers", str(options.workers)]
        ways = {"one process": alone}
        if options.workers:
            ways[f"{options.workers} workers"] = cluster
        for name, words in ways.items():
            out = root / name.replace(" ", "_")
            command = [options.model, str(root / "images"), str(out), "--device", "cpu", *words]
            rate, seconds, start = measure(command, out, options.images, "--ray" in words)
            print(f"| {name} | {rate:.2f} | {1000 * seconds:.0f} ms | {start:.0f} s |", flush=True)


def measure(words: list[str], out: Path, images: int, by_ray: bool) -> tuple[float, float, float]:
    """Images a second and processor seconds an image, from the first tenth of them to the last; seconds until then."""
    mark = f"{MARK}={uuid.uuid4().hex}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0", MARK: mark.split("=")[1]}
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "condseg_monai", "predict", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    first: tuple[float, float, int] | None = None
    while True:
        done = len([*out.glob("*.png")])
        now, spent = time.perf_counter(), processor_seconds(mark) if by_ray else ticks(process.pid)
        if first is None and done >= max(1, images // 10):
            first = now, spent, done
        if first is not None and done == images:
            process.wait()
            counted = images - first[2]
            if not counted:
                sys.exit(f"all {images} masks were there at the first look: give more --images")
            return counted / (now - first[0]), (spent - first[1]) / counted, first[0] - begin
        if process.poll() is not None:
            sys.exit(f"condseg predict ended with {process.returncode} and {done} of {images} masks")
        time.sleep(0.05)


def processor_seconds(mark: str) -> float:
    """Processor time of the workers that inherited a mark."""
    total = 0.0
    for folder in Path("/proc").iterdir():
        try:
            if b"ray::MapWorker" in (folder / "cmdline").read_bytes():
                total += ticks(int(folder.name)) * (mark.encode() in (folder / "environ").read_bytes())
        except (OSError, ValueError):
            continue
    return total


def ticks(pid: int) -> float:
    """Processor time of a process in seconds; 0 of one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()

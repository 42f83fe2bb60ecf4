"""Draw how time and memory grow with image size, batch, and images in a folder.

    python -m benchmarks.growth                          # all three, as docs/performance.md shows them
    python -m benchmarks.growth --only images --values 100 200 400 --output_dir /tmp/figures

Each point is a fresh process. Image size and batch: inference of the default network, folded as the bundle does it.
Images: a folder of small generated PNGs through ``configs/inference.json`` with a tiny network, so that what is
measured is the pipeline: reading, resizing, inverting, writing. For slices see ``benchmarks/volume_memory.py``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from benchmarks.figure import draw_charts
from benchmarks.jobs import make_step
from benchmarks.measure import CLOCKS, interleave, peak_rss_bytes
from benchmarks.pipeline import open_inference
from condseg_monai import ConDSeg

_BATCH_IMAGE_SIZE = 128


class Axis(NamedTuple):
    """What grows."""

    label: str
    values: list[int]


AXES = {
    "image_size": Axis("height and width of the image", [64, 128, 256, 384, 512]),
    "batch_size": Axis(f"images of {_BATCH_IMAGE_SIZE} x {_BATCH_IMAGE_SIZE} in a batch", [1, 2, 4, 8]),
    "images": Axis("images in the folder", [1000, 2500, 5000, 10000]),
}


def main() -> None:
    """Measure and draw what the command line asks for."""
    options = parse()
    if options.point:
        print(json.dumps(measure(options.point[0], int(options.point[1]), options)))
        return
    for name in options.only or AXES:
        points = []
        for value in options.values or AXES[name].values:
            seconds, megabytes = in_a_fresh_process(name, value, options)
            print(f"{name} {value}: {seconds:.2f} s, {megabytes:.0f} MB", flush=True)
            points.append((value, seconds, megabytes))
        charts = {
            "processor seconds" if options.clock == "cpu" else "seconds": [(x, y) for x, y, _ in points],
            "peak memory of the process, MB": [(x, y) for x, _, y in points],
        }
        draw_charts(options.output_dir / f"growth_{name}.png", AXES[name].label, charts)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output_dir", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", nargs="+", choices=list(AXES))
    parser.add_argument("--values", type=int, nargs="+", help="other sizes or numbers, with --only one of them")
    parser.add_argument("--repeats", type=int, default=3, help="of image size and batch; the median counts")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.values and len(options.only or ()) != 1:
        parser.error("--values needs --only with one name")
    return options


def in_a_fresh_process(name: str, value: int, options: argparse.Namespace) -> tuple[float, float]:
    """Measure one point where nothing else was before: seconds, megabytes."""
    command = [sys.executable, "-m", "benchmarks.growth", "--point", name, str(value)]
    command += ["--clock", options.clock, "--repeats", str(options.repeats)]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds, megabytes = json.loads(result.stdout.splitlines()[-1])
    return seconds, megabytes


def measure(name: str, value: int, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds of one point, and the peak memory of this process in megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        if name == "images":
            seconds = seconds_of_images(Path(folder), value, options.clock)
        else:
            size, batch = (value, 1) if name == "image_size" else (_BATCH_IMAGE_SIZE, value)
            step = make_step("inference-paper", "folded", size=size, batch=batch)
            times, _ = interleave({"step": step}, options.repeats, options.clock)
            seconds = statistics.median(times["step"])
    return seconds, peak_rss_bytes() / 1e6


def seconds_of_images(folder: Path, number: int, clock: str) -> float:
    """Seconds of an inference run over ``number`` generated images."""
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(number):
        pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i:05d}.png")
    tiny = {"encoder": "resnet18", "decoder_channels": 4}
    torch.save(ConDSeg(**tiny).state_dict(), folder / "model.pt")  # type: ignore[arg-type]
    workflow = open_inference(folder, folder / "out", **tiny, image_size=32, batch_size=8, num_workers=0)
    started = CLOCKS[clock]()
    workflow.run()
    seconds = CLOCKS[clock]() - started
    written = len(list((folder / "out").glob("*.png")))
    if written != number:
        raise RuntimeError(f"{written} masks of {number} images")
    return seconds


if __name__ == "__main__":
    main()

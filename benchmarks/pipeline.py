"""Compare the bundle's inference from files to files with the network alone, and print the process's peak memory.

    python -m benchmarks.pipeline                               # the default network, 256 x 256
    python -m benchmarks.pipeline --images 8 --clock cpu --num_workers 0

Both segment the same number of images in batches of the same size, in turns. The network alone is laid out as the
bundle does on a CPU, channels last, on a batch in memory. With ``--clock cpu`` only the work of this process
counts: take ``--num_workers 0`` along with it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.measure import CLOCKS, peak_rss_bytes
from condseg_monai import ConDSeg
from condseg_monai.cli.workflows import open_run


def main() -> None:
    """Measure and print images per second."""
    options = parse()
    now = CLOCKS[options.clock]
    count = options.images // options.batch_size * options.batch_size
    values = {name: getattr(options, name) for name in ("image_size", "batch_size", "num_workers", "encoder")}
    values["decoder_channels"] = options.decoder_channels
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder / "images", count)
        torch.manual_seed(0)
        network = ConDSeg(encoder=options.encoder, decoder_channels=options.decoder_channels).eval()
        torch.save(network.state_dict(), folder / "model.pt")
        image = torch.rand(options.batch_size, 3, options.image_size, options.image_size)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        alone, whole = [], []
        for turn in range(options.repeats):
            started = now()
            with torch.inference_mode():
                for _ in range(count // options.batch_size):
                    network(image)
            alone.append(now() - started)
            values |= {"dataset_dir": f"{folder}/images", "output_dir": f"{folder}/out{turn}", "ckpt_dir": str(folder)}
            workflow = open_run(("inference",), {**values, "device": "cpu", "progress_bar": False}, "infer")
            started = now()
            workflow.run()
            whole.append(now() - started)
    ratio = statistics.median(a / b for a, b in zip(alone, whole, strict=True))
    print(f"network alone:       {count / statistics.median(alone):.3f} images/s")
    print(f"from files to files: {count / statistics.median(whole):.3f} images/s, {100 * ratio:.1f} % of that")
    print(f"peak memory:         {peak_rss_bytes() / 1e6:.0f} MB")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=16, help="rounded down to whole batches")
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--num_workers", type=int, default=2)
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--decoder_channels", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    return parser.parse_args()


def write_pictures(folder: Path, number: int) -> None:
    """Write noisy JPEGs of 500 x 574 pixels, a common size of endoscopic images."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(number):
        Image.fromarray(rng.integers(0, 256, (500, 574, 3), dtype=np.uint8)).save(folder / f"{i:05d}.jpg")


if __name__ == "__main__":
    main()

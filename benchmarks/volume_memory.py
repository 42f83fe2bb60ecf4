"""Peak memory of segmenting CT volumes of more and more slices, each in a process of its own.

    python -m benchmarks.volume_memory [--slices 60 300 1200] [--size 512]
        [--save_probability nii] [--save_uncertainty nii] [--keep_largest]

Prints, per volume, the peak of the process's resident memory and what is left of it beyond the decoded input (2 bytes
per voxel) and the labels (1 byte). Exits with 1 if that differs by more than 100 MiB between the volumes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import peak_rss_bytes

_LIMIT_MIB = 100


def main() -> int:
    """Measure and print; 1 if memory grows with the number of slices."""
    parser = argparse.ArgumentParser(description="Peak memory of segmenting CT volumes.")
    parser.add_argument("--slices", type=int, nargs="+", default=[60, 300, 1200])
    parser.add_argument("--size", type=int, default=512, help="height and width of a slice")
    parser.add_argument("--image_size", type=int, default=64, help="height and width of the network's input")
    for scores in ("--save_probability", "--save_uncertainty"):
        parser.add_argument(scores, default="none", choices=("none", "nii", "nii.gz"))
    parser.add_argument("--keep_largest", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(_measure(options)))
        return 0
    rows = []
    print("slices   peak MiB   input MiB   labels MiB   beyond both MiB   seconds")
    for number in options.slices:
        with tempfile.TemporaryDirectory() as folder:
            _write_volume(Path(folder) / "ct.nii.gz", options.size, number)
            command = [sys.executable, "-m", "benchmarks.volume_memory", *sys.argv[1:], "--measure", folder]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                print(result.stderr, file=sys.stderr)
                return 1
            row = json.loads(result.stdout.splitlines()[-1])
        voxels = options.size**2 * number / 2**20
        beyond = row["peak_mib"] - 3 * voxels
        rows.append(beyond)
        peak, seconds = row["peak_mib"], row["seconds"]
        print(f"{number:6d} {peak:10.0f} {2 * voxels:11.0f} {voxels:12.0f} {beyond:17.0f} {seconds:9.0f}", flush=True)
    spread = max(rows) - min(rows)
    print(f"beyond input and labels the volumes differ by {spread:.0f} MiB")
    return int(spread > _LIMIT_MIB)


def _write_volume(path: Path, size: int, number: int) -> None:
    """A cylinder of tissue in air, with noise, as ``int16``."""
    import gzip

    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_shape((size, size, number))
    header.set_data_dtype(np.int16)
    header.set_sform(np.diag([0.8, 0.8, 1.0, 1.0]), code=1)
    y, x = np.mgrid[:size, :size] / size - 0.5
    body = np.where(x**2 / 0.16 + y**2 / 0.1 < 1, 40, -1000)
    rng = np.random.default_rng(0)
    with gzip.open(path, "wb", compresslevel=1) as stream:
        header.write_to(stream)
        for _ in range(number):
            stream.write((body + rng.integers(-20, 20, body.shape)).astype("<i2").tobytes(order="F"))


def _measure(options: argparse.Namespace) -> dict[str, float]:
    import torch

    from condseg_monai import ConDSeg, RequiredCheckpoint, VolumeInference, VolumeInferer, volume_cases

    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = ConDSeg(encoder="resnet18", decoder_channels=16, out_channels=9)
    checkpoint = options.measure / "model.pt"
    torch.save(network.state_dict(), checkpoint)
    cases = volume_cases(
        options.measure / "ct.nii.gz",
        options.measure / "out",
        RequiredCheckpoint(checkpoint, network),
        save_probability=options.save_probability,
        save_uncertainty=options.save_uncertainty,
    )
    inferer = VolumeInferer(image_size=options.image_size, batch_size=8)
    inference = VolumeInference(cases, network, inferer, keep_largest=options.keep_largest, progress_bar=False)
    start = time.perf_counter()
    inference.run()
    peak = peak_rss_bytes() / 2**20
    return {"peak_mib": peak, "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    sys.exit(main())

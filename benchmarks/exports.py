"""Size and speed of a model's exports on a CPU, and how far their logits are from the model's.

python -m benchmarks.exports --model condseg_polyp --formats torchscript onnx torch_export --repeats 20
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import torch

from benchmarks.measure import CLOCKS, interleave
from condseg_monai.inference.model_export import EXPORT_FORMATS, export_model, run_export
from condseg_monai.inference.packed_bundle import load_model


def main(arguments: list[str] | None = None) -> None:
    """Export a model to each format, time the files in turn, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="condseg_polyp")
    files = [name for name, ending in EXPORT_FORMATS.items() if ending]
    parser.add_argument("--formats", nargs="+", choices=files, default=files)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args(arguments)
    _, card, network = load_model(options.model)
    images = torch.rand(1, int(card.network["in_channels"]), card.image_size, card.image_size)
    rows, steps = {}, {"PyTorch": lambda: network(images)}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for name in options.formats:
            path, started = Path(folder) / f"model{EXPORT_FORMATS[name]}", CLOCKS[options.clock]()
            difference = export_model(options.model, path, name)
            seconds, run = CLOCKS[options.clock]() - started, run_export(path, name)
            rows[name] = f"{difference:.1e} | {path.stat().st_size / 1e6:.1f} MB | {seconds:.0f} s"
            steps[name] = lambda run=run: run(images)
        times, _ = interleave(steps, options.repeats, options.clock, warm_up=3)
    print(f"| format | largest difference | size | export | an image of {card.image_size} x {card.image_size} |")
    print("|---|---|---|---|---|")
    for name, seconds_of in times.items():
        print(f"| {name} | {rows.get(name, '| |')} | {1e3 * statistics.median(seconds_of):.0f} ms |")


if __name__ == "__main__":
    main()

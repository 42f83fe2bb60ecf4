r"""Train the reference model ``condseg_polyp`` on Kvasir-SEG, on a CPU, in steps that can be stopped at any time.

    nice -n 19 .venv/bin/python -m experiments.train_polyp --dataset_dir KVASIR --output_dir runs/condseg_polyp
    .venv/bin/python -m experiments.train_polyp --dataset_dir KVASIR --output_dir runs/condseg_polyp \
        --ship full condseg_polyp

The first command does what is left to do: stopped and given again it continues after the last complete epoch, and a run
that has ended stays as it is. ``KVASIR`` has ``images/``, ``masks/``, ``train.txt`` (880) and ``val.txt`` (120).

80 images of ``train.txt``, drawn with seed 0, are held out, to choose by. The official ``val.txt`` is the test list
here, which only the second command reads; ``test_looks.txt`` in the output folder counts how often. It writes
a step's best weights as float16 into the bundle, scores that file, and puts the scores into its model card.

1. ``stage1``: Consistency Reinforcement from ImageNet weights, at 128 pixels;
2. ``small``: stage 2 from that encoder, at 128 pixels, where a step takes a quarter of the time;
3. ``full``: stage 2 continued from those weights at 256 pixels; ``full/models/model.pt`` is the result.

All are ``preset_recommended.json`` but for the options below; what follows ``--`` is passed to every step.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from condseg_monai.cli.workflows import run, without_card_options
from condseg_monai.networks.model_card import card_path
from condseg_monai.utils.bundle_path import bundle_dir
from condseg_monai.utils.files import file_sha256, write_checkpoint
from experiments.given_options import parse_options

OPTIONS: dict[str, Any] = {
    "encoder": "efficientnet_lite2",
    "decoder_channels": 28,
    "zoom": 1.3,  # this and the cosine as the shipped weights had them; no longer the preset's (docs/results.md)
    "lr_schedule": "cosine",
    "precision": "bfloat16",
    "num_workers": 0,
    "panel_interval": 0,
    "early_stop_patience": 1000,
    "progress_bar": False,
}


SCORES = ("mean_iou", "mean_dice", "mean_iou_original", "mean_dice_original")


class Step(NamedTuple):
    """A training: its folder, stage, size of images, learning rates, and the option with the weights it starts from."""

    name: str
    stage: int
    image_size: int
    epochs: int
    learning_rate: float
    starts_from: Mapping[str, str] = {}

    @property
    def options(self) -> dict[str, Any]:
        """Options of the bundle's config."""
        rates = {"learning_rate": self.learning_rate, "encoder_learning_rate": 0.3 * self.learning_rate}
        return {"image_size": self.image_size, "epochs": self.epochs, **rates}


STEPS = (
    Step("stage1", 1, 128, 10, 1e-3),
    Step("small", 2, 128, 30, 1e-3, {"stage1_checkpoint": "stage1/models/stage1_final.pt"}),
    Step("full", 2, 256, 20, 5e-4, {"init_from": "small/models/model_final.pt"}),
)


def main() -> None:
    """Train what is left, or score the test list."""
    arguments, given = parse(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    output_dir: Path = arguments.output_dir.resolve()
    dataset_dir = output_dir / "dataset"
    make_dataset(arguments.dataset_dir.resolve(), dataset_dir, arguments.held_out)
    if arguments.ship:
        ship(output_dir, *arguments.ship, arguments.models_dir, given)
        return
    for step, epochs, size in zip(STEPS, arguments.epochs, arguments.image_sizes, strict=True):
        step = step._replace(epochs=epochs, image_size=size)
        train(step, output_dir, {**OPTIONS, "dataset_dir": str(dataset_dir), **step.options, **given})


def parse(words: Sequence[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The experiment's own arguments, and the bundle's options after ``--``."""
    at = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", type=Path, required=True, help="Kvasir-SEG: images/, masks/, the two lists")
    parser.add_argument("--output_dir", type=Path, required=True, help="a folder for all steps; given again: continue")
    parser.add_argument("--epochs", type=int, nargs=3, default=[step.epochs for step in STEPS], help="of the steps")
    parser.add_argument("--image_sizes", type=int, nargs=3, default=[step.image_size for step in STEPS])
    parser.add_argument("--held_out", type=int, default=80, help="images of train.txt to choose by")
    parser.add_argument(
        "--ship", nargs=2, metavar=("STEP", "NAME"), help="a step's model as NAME.pt, scored on val.txt"
    )
    parser.add_argument("--models_dir", type=Path, default=bundle_dir() / "models", help="where NAME.pt goes")
    try:
        return parser.parse_args(words[:at]), parse_options(words[at + 1 :])
    except ValueError as error:
        parser.error(f"after --: {error}")


def make_dataset(source: Path, dataset_dir: Path, held_out: int) -> None:
    """Link the images, and write the lists: train and val from ``train.txt``, test from ``val.txt``."""
    if (dataset_dir / "test.txt").is_file():
        return
    names = (source / "train.txt").read_text(encoding="utf-8").split()
    chosen = set(random.Random(0).sample(names, held_out))
    lists = {
        "train": [name for name in names if name not in chosen],
        "val": [name for name in names if name in chosen],
        "test": (source / "val.txt").read_text(encoding="utf-8").split(),
    }
    dataset_dir.mkdir(parents=True, exist_ok=True)
    for folder in ("images", "masks"):
        if not (dataset_dir / folder).is_symlink():
            (dataset_dir / folder).symlink_to(source / folder)
    for name, cases in lists.items():
        (dataset_dir / f"{name}.txt").write_text("\n".join(cases) + "\n", encoding="utf-8")


def train(step: Step, output_dir: Path, options: dict[str, Any]) -> None:
    """Train or continue a step, unless it has ended."""
    folder = output_dir / step.name
    record = folder / "models" / f"run_stage{step.stage}.json"
    if record.is_file() and json.loads(record.read_text(encoding="utf-8")).get("result"):
        return
    places = {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / "eval")}
    start = {option: str(output_dir / file) for option, file in step.starts_from.items()}
    # With a record and without a state, what is there is of a first epoch that was cut short.
    resume = (folder / "models" / f"resume_stage{step.stage}.state").is_file()
    again = {"resume": resume, "overwrite": record.is_file() and not resume}
    run((f"train_stage{step.stage}", "preset_recommended"), {**options, **places, **start, **again})


SOURCES = {
    "data": "Kvasir-SEG, images and masks of 256 x 256 (https://datasets.simula.no/kvasir-seg): its official training "
    "list, some of it held out to choose the best epoch by",
    "licence": "that of Kvasir-SEG: research and education only; not a medical device",
}
"""What the card of a shipped model says of where it comes from."""


def ship(output_dir: Path, step: str, name: str, models_dir: Path, given: dict[str, Any]) -> None:
    """Write a model as float16 with its card, score it on the test list, and note that the list was looked at."""
    from condseg_monai.inference.packed_bundle import half_weights, load_model

    _, card, network = load_model(output_dir / step)
    target, scores = models_dir / f"{name}.pt", output_dir / step / "test"
    write_checkpoint(target, half_weights(network))
    weights = {"file": target.name, "sha256": file_sha256(target)}
    card = replace(card, weights=weights, training={**SOURCES, **card.training})
    card.write(card_path(target))
    places = {"dataset_dir": str(output_dir / "dataset"), "checkpoint": str(target), "output_dir": str(scores)}
    files = ("train_stage2", "evaluate")
    run(files, {**without_card_options(files, given), **places, "split": "test", "overwrite": True})
    with (output_dir / "test_looks.txt").open("a", encoding="utf-8") as looks:
        looks.write(f"{datetime.now(timezone.utc).isoformat(timespec='seconds')} {step}\n")
    summary = json.loads((scores / "summary_test.json").read_text(encoding="utf-8"))
    test = {"images": summary["images"], "scores": {name: summary["scores"][name] for name in SCORES}}
    replace(card, training={**card.training, "test": test}).write(card_path(target))
    print(json.dumps(test, indent=2))


if __name__ == "__main__":
    main()

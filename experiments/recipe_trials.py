r"""Trials of training recipes, one change at a time, on a data set of their own that no reported score uses.

Each trial trains on the 156 images of Kvasir-Sessile at 96 pixels for 15 epochs, the preset ``recommended`` but for the
options in ``TRIALS``. The last epoch's weights, none selected, are scored on 200 images of Kvasir-SEG's ``train.txt``
that are not in Kvasir-Sessile. What is scored already is kept, a trial that was cut short continues; the table,
``trials.md`` in ``--output_dir``, is written after each.

    nice -n 19 .venv/bin/python -m experiments.recipe_trials --sessile_dir DIR --kvasir_dir DIR --output_dir runs/trials
    nice -n 19 .venv/bin/python -m experiments.recipe_trials ... --trials base no_auxiliary --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
from pathlib import Path
from typing import Any

from condseg_monai.cli.workflows import run, without_card_options

OPTIONS: dict[str, Any] = {
    "image_size": 96,
    "epochs": 15,
    "val_interval": 15,
    "learning_rate": 2e-3,
    "encoder_learning_rate": 5e-4,
    "stage1_checkpoint": None,
    "panel_interval": 0,
    "num_workers": 0,
    "progress_bar": False,
}
TRIALS: dict[str, dict[str, Any]] = {
    "base": {},
    "no_region_losses": {"lambda_regions": 0.0},
    "region_losses_tenth": {"lambda_regions": 0.1},
    "beta_detached": {"stage_loss#weight_gradient": False},
    "beta_ceiling_3": {"stage_loss#ceiling": 3.0},
    "class_balance": {"class_balance": 0.5},
    "no_zoom": {"zoom": 1.0},
    "no_color_jitter": {"color_jitter": 0.0},
    "no_average": {"ema_decay": None},
    "no_clip": {"gradient_clip": None},
    "adam": {"optimizer_name": "adam", "weight_decay": 0.0},
    "encoder_rate_of_decoder": {"encoder_learning_rate": 2e-3},
    "encoder_rate_tenth": {"encoder_learning_rate": 2e-4},
    "random_encoder": {"encoder_weights": None, "encoder_learning_rate": 2e-3},
    "dilations_of_256_pixels": {"dilation_scale": 1.0},
    "lite2": {"encoder": "efficientnet_lite2"},
    "flexible_unet": {},
}
SCORES = ("mean_iou", "mean_dice")


def main() -> None:
    """Run what is missing, and write the table."""
    arguments = parse(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    output_dir: Path = arguments.output_dir.resolve()
    make_dataset(arguments.sessile_dir.resolve(), arguments.kvasir_dir.resolve(), output_dir / "dataset")
    for seed in arguments.seeds:
        for name in arguments.trials:
            run_trial(name, seed, output_dir)
            (output_dir / "trials.md").write_text(table(output_dir), encoding="utf-8")
    print(table(output_dir))


def parse(words: list[str]) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessile_dir", type=Path, required=True, help="Kvasir-Sessile: images/, masks/, the lists")
    parser.add_argument("--kvasir_dir", type=Path, required=True, help="Kvasir-SEG: images/, masks/, train.txt")
    parser.add_argument("--output_dir", type=Path, required=True, help="a folder for all trials; given again: continue")
    parser.add_argument("--trials", nargs="+", choices=list(TRIALS), default=list(TRIALS), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    return parser.parse_args(words)


def make_dataset(sessile_dir: Path, kvasir_dir: Path, dataset_dir: Path, count: int = 200) -> None:
    """Link images and masks, and write the lists."""
    train, val, test = (read_list(sessile_dir / f"{name}.txt") for name in ("train", "val", "test"))
    known = {Path(name).stem for name in (*train, *val, *test)}
    others = [name for name in read_list(kvasir_dir / "train.txt") if Path(name).stem not in known]
    chosen = random.Random(0).sample(others, min(count, len(others)))
    for folder in ("images", "masks"):
        (dataset_dir / folder).mkdir(parents=True, exist_ok=True)
        for source, names in ((sessile_dir, train), (kvasir_dir, chosen)):
            for name in names:
                file = next((source / folder).glob(f"{Path(name).stem}.*"))
                link = dataset_dir / folder / file.name
                if not link.is_symlink():
                    link.symlink_to(file)
    (dataset_dir / "train.txt").write_text("\n".join(train) + "\n", encoding="utf-8")
    (dataset_dir / "val.txt").write_text("\n".join(chosen) + "\n", encoding="utf-8")


def read_list(path: Path) -> list[str]:
    """Names in a list file."""
    return path.read_text(encoding="utf-8").split()


def run_trial(name: str, seed: int, output_dir: Path) -> None:
    """Train and score a trial, unless it is scored."""
    folder = output_dir / f"{name}_seed{seed}"
    if (folder / "eval" / "summary_val.json").is_file():
        return
    models = folder / "models"
    places = {"dataset_dir": str(output_dir / "dataset"), "ckpt_dir": str(models), "output_dir": str(folder / "eval")}
    options = {**OPTIONS, **places, "seed": seed, **TRIALS[name]}
    overlay = ["flexible_unet"] if name == "flexible_unet" else []
    run(("train_stage2", "preset_recommended", *overlay), {**options, "resume": (models / "run_stage2.json").is_file()})
    evaluate = ("train_stage2", "evaluate")
    scored = {**places, "checkpoint": str(models / "model_final.pt"), "num_workers": 0, "progress_bar": False}
    run(evaluate, without_card_options(evaluate, {**scored, "report_cases": 0}))


def table(output_dir: Path) -> str:
    """A row for each trial and seed that is scored."""
    rows = ["| trial | seed | mIoU | mDSC | seconds |", "|---|---|---|---|---|"]
    for path in sorted(output_dir.glob("*_seed*/eval/summary_val.json")):
        name, _, seed = path.parents[1].name.rpartition("_seed")
        metrics = json.loads(path.read_text(encoding="utf-8"))["scores"]
        record = json.loads((path.parents[1] / "models" / "run_stage2.json").read_text(encoding="utf-8"))
        scores = " | ".join(f"{metrics[score]['mean']:.3f}" for score in SCORES)
        rows.append(f"| {name} | {seed} | {scores} | {record['result']['seconds']:.0f} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()

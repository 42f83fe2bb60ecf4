"""What the demo shows: a line per epoch, a table of scores, and a sheet of cases."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from monai.networks.utils import eval_mode

from condseg_monai import binary_scores, contact_sheet, draw_heat_map, draw_overlay, read_natural_image
from condseg_monai.reports.drawing import LABEL_COLOR, PREDICTION_COLOR

COLUMNS = ("Image", "Label", "Prediction", "Foreground", "Background", "Uncertainty")
SCORES = {
    "val_mean_iou": "mIoU",
    "val_mean_dice": "mDSC",
    "val_recall": "recall",
    "val_precision": "precision",
    "val_accuracy": "accuracy",
    "val_f2": "F2",
}


def show(text: str = "", **kwargs: Any) -> None:
    """Print at once, into a pipe too."""
    print(text, flush=True, **kwargs)


class EpochLines:
    """Prints a line when training begins and after each epoch of a training workflow, with scores if it validated.

    Args:
        workflow: initialised, not yet run.
    """

    def __init__(self, workflow: ConfigWorkflow) -> None:
        self.trainer: Engine = workflow.parser.get_parsed_content("train#trainer")
        evaluator: Engine = workflow.parser.get_parsed_content("validate#evaluator")
        self.losses: list[float] = []
        self.scores = ""
        self.start = time.perf_counter()
        self.trainer.add_event_handler(Events.STARTED, self.print_begin)
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, self.keep_loss)
        evaluator.add_event_handler(Events.COMPLETED, self.keep_scores)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self.print_line)  # after the config's handlers

    def print_begin(self, trainer: Engine) -> None:
        """Print how long training will be."""
        self.start = time.perf_counter()
        show(f"  training: {trainer.state.max_epochs} epochs of {trainer.state.epoch_length} steps")

    def keep_loss(self, trainer: Engine) -> None:
        """Keep the loss of one iteration."""
        output: Any = trainer.state.output
        self.losses.append(output["loss"].item())

    def keep_scores(self, evaluator: Engine) -> None:
        """Keep the scores of one validation."""
        metrics = evaluator.state.metrics
        self.scores = f"   val mIoU {metrics['val_mean_iou']:.3f}   mDSC {metrics['val_mean_dice']:.3f}"

    def print_line(self, trainer: Engine) -> None:
        """Print epoch, its mean loss, seconds, and scores if there was a validation."""
        state, now = trainer.state, time.perf_counter()
        show(
            f"  epoch {state.epoch:3d}/{state.max_epochs}   loss {np.mean(self.losses or [np.nan]):7.4f}   "
            f"{now - self.start:4.0f} s{self.scores}"
        )
        self.losses, self.scores, self.start = [], "", now


def dice_of_everything(workflow: ConfigWorkflow) -> float:
    """Mean Dice over images if every pixel were called foreground, from an evaluation's data."""
    labels = [item["label"][None] for item in workflow.parser.get_parsed_content("validate#dataset")]
    return float(np.mean([binary_scores(torch.ones_like(label), label)["dice"].item() for label in labels]))


def show_scores(summaries: Mapping[str, Path], baselines: Mapping[str, float]) -> None:
    """Print a table with a column for each split.

    Args:
        summaries: the evaluations' ``summary_*.json``.
        baselines: mDSC of a mask that covers everything.
    """
    read = {split: json.loads(path.read_text(encoding="utf-8")) for split, path in summaries.items()}
    heads = [f"{split} ({summary['images']})" for split, summary in read.items()]
    rows = {"mean over images (standard deviation)": heads}
    for name, title in SCORES.items():
        scores = [summary["scores"][name] for summary in read.values()]
        rows[title] = [f"{score['mean']:.3f} ({score['std']:.3f})" for score in scores]
    rows["mDSC if everything were foreground"] = [f"{baselines[split]:.3f} {'':7s}" for split in read]
    show()
    for title, cells in rows.items():
        show(f"  {title:38s}" + "".join(f"{cell:>17s}" for cell in cells))


def draw_sheet(
    workflow: ConfigWorkflow,
    cases: Sequence[Mapping[str, str]],
    scores: Path,
    predictions: Path,
    mask_threshold: float,
    num_rows: int = 6,
) -> Any:
    """Lay out some cases with what the network makes of them, from the worst Dice to the best.

    Args:
        workflow: an inference that has run.
        cases: ``image`` and ``label`` paths.
        scores: the table of scores of these cases.
        predictions: folder of their masks.
        mask_threshold: above it, a label's value is foreground.
        num_rows: how many cases, evenly spread.

    Returns:
        A Pillow image.
    """
    with scores.open(newline="", encoding="utf-8") as stream:
        dice = {row["file"]: float(row["val_mean_dice"]) for row in csv.DictReader(stream)}
    ranked = sorted(cases, key=lambda case: dice[Path(case["image"]).name])
    chosen = [ranked[i] for i in np.unique(np.linspace(0, len(ranked) - 1, num_rows).round().astype(int))]
    rows, titles = [], []
    has_regions = hasattr(workflow.parser.get_parsed_content("network"), "predict_regions")
    for case in chosen:
        path = Path(case["image"])
        image = read_natural_image(path) / 255.0
        label = read_natural_image(case["label"], "L") > mask_threshold
        pred = read_natural_image(predictions / f"{path.stem}.png", "L") > 0
        regions = [draw_heat_map(region) for region in _regions(workflow, path, label.shape)] if has_regions else []
        rows.append([image, label, draw_overlay(image, pred, label, legend=False), *regions])
        titles.append(f"{path.name}, Dice {dice[path.name]:.2f}")
    legend = {"outline of the label": LABEL_COLOR, "outline of the prediction": PREDICTION_COLOR}
    if has_regions:
        nothing, certain = draw_heat_map([[0, 1]])[0].tolist()
        legend |= {"probability 0": nothing, "probability 1": certain}
    return contact_sheet(rows, COLUMNS[: len(rows[0])], titles, legend=legend)


def _regions(workflow: ConfigWorkflow, path: Path, size: tuple[int, ...]) -> np.ndarray:
    """Probabilities of foreground, background and uncertainty, ``(3, H, W)`` for ``size`` (H, W)."""
    network = workflow.parser.get_parsed_content("network")
    image = workflow.parser.get_parsed_content("preprocessing")({"image": str(path)})["image"]
    batch = image.as_tensor()[None].to(next(network.parameters()).device)
    with eval_mode(network):
        regions = network.predict_regions(batch).regions
    return torch.nn.functional.interpolate(regions, size, mode="bilinear")[0].cpu().numpy()

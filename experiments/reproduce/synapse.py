"""Table 10: prepare CT volumes, train both stages on their slices, segment the test volumes and score them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from condseg_monai.cli.workflows import run
from condseg_monai.data.prepare.synapse import prepare_synapse
from condseg_monai.reports.volume_scoring import predicted_classes, score_volumes
from experiments.reproduce.trainings import FILES, Plan, Row

__all__ = ["prepare_slices", "score_row"]

_COLUMNS = {
    "dice": "Dice",
    "hd95_mm": "HD95, mm",
    "transunet_dice": "Dice, TransUNet's rule",
    "transunet_hd95_voxels": "HD95, TransUNet's rule, voxels",
}


def prepare_slices(scans: Path, slices: Path, source_labels: str | None, hold_out: Mapping[str, int | str]) -> None:
    """Make TransUNet's slices and test volumes, unless they are there."""
    if not (slices / "dataset.json").is_file():
        prepare_synapse(scans, slices, source_labels=source_labels, hold_out=hold_out)


def score_row(row: Row, plan: Plan, seed: int) -> list[list[str]]:
    """Train a row, segment the test volumes, and return Dice and HD95 of each organ, by our rules and TransUNet's."""
    plan.train(row, seed)
    folder = plan.folder(plan.trainings(row)[-1], seed)
    volumes, labels, weights = folder / "volumes", plan.dataset_dir / "test_vol_h5", plan.weights(row, seed)
    places: dict[str, Any] = {"dataset_dir": str(labels), "output_dir": str(volumes), "checkpoint": str(weights)}
    run(FILES[row.method].predict, {**places, "num_workers": 0, "progress_bar": False}, "infer")
    names, context = predicted_classes(volumes, None)
    summary = score_volumes(volumes, labels, names, names, folder / "scores", context=context, overwrite=True)
    table = [["organ", *_COLUMNS.values()]]
    scores = {organ: [found[name]["mean"] for name in _COLUMNS] for organ, found in summary["organs"].items()}
    scores["mean"] = [summary["mean"][name] for name in _COLUMNS]
    for organ, values in scores.items():
        table.append([organ, *("" if value is None else f"{value:.3f}" for value in values)])
    return table

"""Table 10: prepare CT volumes, train both stages on their slices, segment the test volumes and score them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from condseg_monai.cli.workflows import run
from condseg_monai.data.prepare.synapse import prepare_synapse
from condseg_monai.metrics.volume_scores import VOLUME_SCORES
from condseg_monai.reports.pages import score_title
from condseg_monai.reports.volume_scoring import predicted_classes, score_volumes
from condseg_monai.utils.files import read_json_object
from experiments.reproduce.trainings import FILES, Plan, Row

__all__ = ["prepare_slices", "score_row"]


def prepare_slices(scans: Path, slices: Path, source_labels: str | None, hold_out: Mapping[str, int | str]) -> None:
    """Make TransUNet's slices and test volumes, unless they are there.

    Raises:
        ValueError: if those that are there are of another folder.
    """
    record = slices / "dataset.json"
    if not record.is_file():
        prepare_synapse(scans, slices, source_labels=source_labels, hold_out=hold_out)
    elif (source := read_json_object(record).get("source")) != str(scans):
        raise ValueError(f"{slices} was made of {source}, not of {scans}: give another --output_dir")


def score_row(row: Row, plan: Plan, seed: int) -> list[list[str]]:
    """Train a row, segment the test volumes, and return Dice and HD95 of each organ, by our rules and TransUNet's."""
    plan.train(row, seed)
    folder = plan.folder(plan.trainings(row)[-1], seed)
    labels, weights = plan.dataset_dir / "test_vol_h5", plan.weights(row, seed)
    volumes = folder / f"volumes_{weights.stem}"
    places: dict[str, Any] = {"dataset_dir": str(labels), "output_dir": str(volumes), "checkpoint": str(weights)}
    chosen = {name: plan.given[name] for name in ("device", "precision") if name in plan.given}
    run(FILES[row.method].predict, {**places, **chosen, "num_workers": 0, "progress_bar": False}, "infer")
    names, context = predicted_classes(volumes, None)
    summary = score_volumes(
        volumes, labels, names, names, folder / f"scores_{weights.stem}", context=context, overwrite=True
    )
    table = [["organ", *map(score_title, VOLUME_SCORES)]]
    scores = {organ: [found[name]["mean"] for name in VOLUME_SCORES] for organ, found in summary["organs"].items()}
    scores["mean"] = [summary["mean"][name] for name in VOLUME_SCORES]
    for organ, values in scores.items():
        table.append([organ, *("" if value is None else f"{value:.3f}" for value in values)])
    return table

"""Pictures of the papers' figures, from the rows that are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from condseg_monai.metrics.bootstrap import bootstrap_interval
from experiments.reproduce.trainings import Plan, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_curves", "draw_sweep"]


def draw_sweep(rows: Mapping[str, Row], plan: Plan, seeds: Sequence[int], x: str) -> Figure:
    """MIoU over the numbers that name the rows, with its 95 % interval over images."""
    values, means, errors = [], [], []
    for name, row in rows.items():
        if tables := plan.read_scores(row, seeds):
            images = np.mean([table.scores["mean_iou"] for table in tables.values()], axis=0)
            low, high = bootstrap_interval(images)
            values.append(float(name))
            means.append(float(images.mean()))
            errors.append((means[-1] - low, high - means[-1]))
    figure, axes = _figure(x, "mIoU")
    if values:
        axes.errorbar(values, means, yerr=np.transpose(errors), marker="o", capsize=3)
        axes.set_xticks(values)
    return figure


def draw_curves(rows: Mapping[str, Row], plan: Plan, seeds: Sequence[int], x: str = "epoch") -> Figure:
    """Validation mIoU over the epochs of each row's last training."""
    from condseg_monai.training.handlers.training_history import read_history

    figure, axes = _figure(x, "validation mIoU")
    for number, row in enumerate(rows.values()):
        for seed in seeds:
            (path,) = plan.folder(plan.trainings(row)[-1], seed).glob("history_*.csv")
            epochs = [entry for entry in read_history(path) if entry.get("val_mean_iou") is not None]
            label = row.title if seed == seeds[0] else None
            points = [entry["epoch"] for entry in epochs], [entry["val_mean_iou"] for entry in epochs]
            axes.plot(*points, marker=".", color=f"C{number}", label=label)
    axes.legend()
    return figure


def _figure(x: str, y: str) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    return figure, figure.add_subplot(xlabel=x, ylabel=y)

"""Curves of a training: losses, validation scores and learning rates of both stages in one picture."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from condseg_monai.networks.model_card import ModelCard
from condseg_monai.training.handlers.training_history import read_history
from condseg_monai.utils.files import atomic_write, read_json_object

__all__ = ["curves_of", "draw_curves", "run_and_draw"]

# Okabe and Ito, which colour-blind people distinguish too, and line styles for those who see no colour.
_COLORS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_STYLES = ("-", "--", "-.", ":")
_MAX_SCORES = 7
_LABELS = {"val_loss": "mask in validation"}


def run_and_draw(trainer: Any, output_dir: str | os.PathLike[str]) -> None:
    """Run a trainer and draw the curves of its folder, also if it fails or is interrupted.

    Args:
        trainer: has ``run``.
        output_dir: where the histories are; see :func:`draw_curves`. What goes wrong with the picture is logged.
    """
    try:
        trainer.run()
    finally:
        if idist.get_rank() == 0:
            try:
                draw_curves(output_dir)
            except Exception as error:  # must not cost a run its end, or hide why it failed
                logging.getLogger(__name__).warning(f"the curves in {output_dir} could not be drawn: {error}")


def curves_of(checkpoint: str | os.PathLike[str], card: ModelCard | None) -> Path | None:
    """Find the picture of the training that made a checkpoint, by the record beside it.

    Args:
        checkpoint: the weights.
        card: their model card, which names the record.

    Returns:
        ``curves.png`` of the record's ``output_dir``; None if there is no such record or picture, as of a model
        that was passed on.
    """
    name = None if card is None else card.training.get("record")
    if not isinstance(name, str) or Path(name).name != name or not (record := Path(checkpoint).parent / name).is_file():
        return None
    options = read_json_object(record).get("options")
    folder = options.get("output_dir") if isinstance(options, dict) else None
    path = Path(folder) / "curves.png" if isinstance(folder, str) else None
    return path if path is not None and path.is_file() else None


def draw_curves(output_dir: str | os.PathLike[str]) -> Path | None:
    """Draw all ``history_*.csv`` of a folder into its ``curves.png``, each in a column: losses, scores, rates.

    Args:
        output_dir: the folder.

    Returns:
        The picture; None if there is no history.

    Raises:
        ValueError: if a file is no history.
    """
    folder = Path(output_dir)
    found = {path.stem.removeprefix("history_"): read_history(path) for path in sorted(folder.glob("history_*.csv"))}
    histories = {name: rows for name, rows in found.items() if rows}
    if not histories:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes half a second
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8 * len(histories), 10), layout="constrained")
    axes = figure.subplots(3, len(histories), squeeze=False, sharex="col")
    for column, (name, rows) in zip(axes.T, histories.items(), strict=True):
        names = list(dict.fromkeys(name for row in rows for name in row))
        column[0].set_title(name.replace("stage", "stage "))
        losses = [key for key in names if key.startswith("loss/") and not key.endswith("_weight")]
        scores = [key for key in names if key.startswith("val_") and key != "val_loss"]
        _draw(column[0], rows, [*losses, "val_loss"], "loss, terms before their factors")
        _draw(column[1], rows, scores[:_MAX_SCORES], "validation score")
        _draw(column[2], rows, [key for key in names if key.startswith("learning_rate/")], "learning rate")
        column[1].set_ylim(0, 1)
        column[2].set_yscale("log")
        column[2].set_xlabel("epoch")
        column[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    path = folder / "curves.png"
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        FigureCanvasAgg(figure).print_png(stream)
    return path


def _draw(axis: Any, rows: Sequence[Mapping[str, float]], names: Sequence[str], label: str) -> None:
    for number, name in enumerate(names):
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        words = name.rpartition("/")[2].removeprefix("val_").replace("_", " ")
        axis.plot(
            *zip(*points, strict=True) if points else ((), ()),
            color=_COLORS[number % len(_COLORS)],
            linestyle=_STYLES[number % len(_STYLES)],
            marker="o" if len(points) < 10 else "",
            markersize=3,
            label=_LABELS.get(name, words),
        )
    axis.set_ylabel(label)
    axis.grid(alpha=0.3)
    if names:
        axis.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1, 1))  # beside, not on curves

"""History of a training: a CSV file with a row per epoch."""

from __future__ import annotations

import csv
import io
import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from condseg_monai.utils.files import atomic_write

__all__ = ["TrainingHistory", "read_history"]


class TrainingHistory:
    """Write a CSV file with a row per epoch: learning rates, loss terms, and the metrics of its validation.

    Columns are ``epoch``; ``learning_rate/{group}``, the rate of the epoch's last step; ``loss/total`` and
    ``loss/{term}``, means over the epoch's steps; and the evaluator's metrics, ``val_loss`` among them, empty where an
    epoch was not validated. The file is replaced as a whole, and a row takes the place of those of its epoch and later
    ones: a run that is resumed leaves the file that an uninterrupted one would.

    Args:
        path: the file.
        scalars: gives a step's scalars by name of the trainer's output, as :class:`~condseg_monai.TrainingScalars`.
        evaluator: the engine that validates.
    """

    def __init__(
        self, path: str | os.PathLike[str], scalars: Callable[[Any], Mapping[str, float]], evaluator: Engine
    ) -> None:
        self.path = Path(path)
        self.scalars = scalars
        self.evaluator = evaluator
        self._steps: dict[str, list[float]] = defaultdict(list)

    def attach(self, engine: Engine) -> None:
        """Collect the scalars of each step of ``engine``, a trainer; :meth:`write` is called when an epoch is done."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda: self._steps.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)

    def step(self, engine: Engine) -> None:
        """Collect the scalars of a step."""
        for name, value in self.scalars(engine.state.output).items():
            self._steps[name].append(value)

    def write(self, epoch: int) -> None:
        """Write the row of an epoch, after its validation if it has one."""
        row: dict[str, Any] = {"epoch": epoch}
        row |= {name: values[-1] for name, values in self._steps.items() if name.startswith("learning_rate/")}
        row |= {
            name: math.fsum(values) / len(values)
            for name, values in self._steps.items()
            if not name.startswith("learning_rate/")
        }
        state: Any = self.evaluator.state
        if state.epoch == epoch:
            row |= {name: float(value) for name, value in state.metrics.items()}
        earlier = [old for old in read_history(self.path) if old["epoch"] < epoch] if epoch > 1 else []
        _write([*earlier, row], self.path)


def read_history(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Read a file of :class:`TrainingHistory`.

    Returns:
        A row per epoch, without the columns that are empty in it; none if there is no such file.

    Raises:
        ValueError: naming the file, if it is something else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    try:
        rows = [
            {name: float(value) for name, value in row.items() if value} for row in csv.DictReader(io.StringIO(text))
        ]
        if all("epoch" in row for row in rows):
            return rows
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{path} is no history of a training: move it away, or restore it")


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)

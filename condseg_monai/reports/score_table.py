"""Score table of an evaluation as CSV: a line per image."""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

__all__ = ["IMAGE_COLUMNS", "ScoreTable", "is_lower_better"]

IMAGE_COLUMNS = ("height", "width", "label_share")
"""What a table says of an image beside its scores: size of the file in pixels, share of pixels that are lesion."""

_FORMULAS = ("=", "+", "-", "@")
_DISTANCES = {"hd95", "asd", "mae", "calibration"}
_OVERLAPS = {"iou", "dice", "recall", "precision"}


@dataclass(frozen=True)
class ScoreTable:
    """Scores of a list of images, by name, in one order."""

    files: list[str]
    """File names, all different."""
    scores: dict[str, np.ndarray]
    """``(N,)`` float64 under the score's name in the engine."""
    images: dict[str, np.ndarray] = field(default_factory=dict)
    """``(N,)`` float64 under names of ``IMAGE_COLUMNS``."""

    def __post_init__(self) -> None:
        for name, values in {**self.images, **self.scores}.items():
            if len(values) != len(self.files):
                raise ValueError(f"column {name} has {len(values)} values for {len(self.files)} images")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def select(self, rows: Iterable[int] | np.ndarray) -> ScoreTable:
        """Return a table of some rows, by index or by a mask of booleans."""
        index = np.arange(len(self))[np.asarray(rows)] if len(self) else np.arange(0)
        return ScoreTable(
            [self.files[i] for i in index],
            {name: values[index] for name, values in self.scores.items()},
            {name: values[index] for name, values in self.images.items()},
        )

    def ranked(self, score: str) -> list[int]:
        """Return row numbers from the worst value of a score to the best; NaN is worst, ties keep their order."""
        values = -self.scores[score] if is_lower_better(score) else self.scores[score]
        return np.argsort(np.where(np.isnan(values), -np.inf, values), kind="stable").tolist()

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV: ``file``, then the columns; NaN and infinity are ``nan`` and ``inf``.

        Names that a spreadsheet would take for a formula (``=``, ``+``, ``-``, ``@`` first) begin with an apostrophe.
        """
        columns = {**self.images, **self.scores}
        with Path(path).open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
            writer = csv.writer(stream)
            writer.writerow(["file", *columns])
            for index, file in enumerate(self.files):
                cells = (_cell(name, values[index]) for name, values in columns.items())
                writer.writerow([f"'{file}" if file.startswith(_FORMULAS) else file, *cells])

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> ScoreTable:
        """Read what :meth:`write` wrote; a file that is no such table raises ``ValueError`` naming the line."""
        with Path(path).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            try:
                rows = [row for row in csv.reader(stream) if row]
            except csv.Error as error:
                raise ValueError(f"{path} is not a table of scores: {error}") from error
        if not rows or rows[0][:1] != ["file"] or len(rows[0]) < 2:
            raise ValueError(f"{path} is not a table of scores: its first line must be file and names of scores")
        header, lines = rows[0][1:], rows[1:]
        if not lines:
            raise ValueError(f"{path} has no images")
        columns: dict[str, list[float]] = {name: [] for name in header}
        for number, line in enumerate(lines, 2):
            if len(line) != len(rows[0]):
                raise ValueError(f"{path}: line {number} has {len(line)} cells, the first line {len(rows[0])}")
            for name, cell in zip(header, line[1:], strict=True):
                try:
                    columns[name].append(float(cell))
                except ValueError:
                    raise ValueError(f"{path}: line {number}: {name} is {cell!r}, not a number") from None
        files = [line[0][1:] if line[0][:1] == "'" and line[0][1:].startswith(_FORMULAS) else line[0] for line in lines]
        if twice := [file for file, count in Counter(files).items() if count > 1]:
            raise ValueError(f"{path} has more than one line of {', '.join(twice[:5])}")
        arrays = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
        images = {name: arrays.pop(name) for name in list(arrays) if name in IMAGE_COLUMNS}
        return cls(files, arrays, images)


def is_lower_better(score: str) -> bool:
    """Whether a low value of a score is a good one: distances and errors."""
    kind = next((word for word in score.split("_") if word in _DISTANCES | _OVERLAPS), "")  # what follows is a class
    return kind in _DISTANCES


def _cell(name: str, value: float) -> str:
    return f"{value:.0f}" if name in ("height", "width") and math.isfinite(value) else f"{value:.6f}"

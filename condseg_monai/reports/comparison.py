"""``python -m condseg_monai compare``: is one evaluation better than another on the same images?"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from condseg_monai.data.ct.nifti import nifti_stem
from condseg_monai.data.images.image_reader import IMAGE_EXTENSIONS
from condseg_monai.data.lists.pairing import name_key
from condseg_monai.metrics import bootstrap_interval
from condseg_monai.reports.score_table import ScoreTable, is_lower_better

__all__ = ["compare_evaluations", "compare_scores", "find_score_tables"]

_NAMES_SHOWN = 5
_CONDITIONS = ("split", "image_size", "mask_threshold", "empty_distance", "pixel_spacing")


def compare_scores(a: ScoreTable, b: ScoreTable, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Compare two evaluations image by image.

    Args:
        a: scores of one system.
        b: scores of another, on the same images in any order.
        seed: of the bootstrap.

    Returns:
        For each score that both have: ``mean_a``, ``mean_b``, ``difference`` (of means, b less a), ``interval_95`` of
        the difference by bootstrap over images, the number of images on which b is ``better``, ``worse`` and
        ``equal``, how many images that is of, ``images``, and ``lower_is_better``. Images where either score is NaN are
        left out of all of these; None stands for NaN and for an interval that cannot be had.

    Raises:
        ValueError: if the images differ, naming them, or no score is in both.
    """
    _check_images(a, b)
    row_in_b = {file: row for row, file in enumerate(b.files)}
    b = b.select([row_in_b[file] for file in a.files])
    names = [name for name in a.scores if name in b.scores]
    if not names:
        raise ValueError(f"no score is in both: A has {', '.join(a.scores)}; B has {', '.join(b.scores)}")
    return {name: _compare(a.scores[name], b.scores[name], is_lower_better(name), seed) for name in names}


def compare_evaluations(a: Path, b: Path, common: bool = False) -> dict[str, Any]:
    """Compare two evaluations of the same images, read from their score tables.

    Args:
        a: a ``scores_*.csv``.
        b: another, of the same images.
        common: leave out every image that one of the two lacks, not only those that it reported as failed.

    Returns:
        The files, the number of images compared, those left out, notes, and the scores of :func:`compare_scores`.

    Raises:
        ValueError: if the two are not of the same images.
    """
    found = ScoreTable.read(a), ScoreTable.read(b)
    summaries = [_summary_beside(path) for path in (a, b)]
    left_out = _only_in_one(*found)
    if not common:
        failed = [_failed_cases(summary) for summary in summaries]
        left_out = [
            [file for file in files if _case_of(file) in other]
            for files, other in zip(left_out, reversed(failed), strict=True)
        ]
    tables = [_without(table, files) for table, files in zip(found, left_out, strict=True)]
    return {
        "a": str(a),
        "b": str(b),
        "images": len(tables[0]),
        "left_out": {"only_in_a": left_out[0], "only_in_b": left_out[1]},
        "notes": _notes(summaries, tables),
        "scores": compare_scores(tables[0], tables[1]),
    }


def find_score_tables(a: Path, b: Path, split: str | None = None) -> tuple[Path, Path]:
    """Return the CSV files that two arguments mean: themselves, or those of one split in two folders.

    Args:
        a: ``scores_*.csv`` or a folder with one.
        b: the same.
        split: of folders, take ``scores_{split}.csv``; None takes the only split that both have. A file stands for
            itself.

    Raises:
        ValueError: if a folder has none, not the one of ``split``, it cannot be told which of several is meant, or
            there is a ``split`` and no folder.
        OSError: if a path does not exist.
    """
    choices = []
    for path in (a, b):
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; give a folder of an evaluation or its scores_*.csv")
        found = sorted(path.glob("scores_*.csv")) if path.is_dir() else [path]
        names = {file.name for file in found}
        # scores_val-1.csv is an earlier scores_val.csv, kept
        earlier = {name for name in names if re.sub(r"-\d+\.csv$", ".csv", name) in names - {name}}
        choices.append([file for file in found if file.name not in earlier])
        if not choices[-1]:
            raise ValueError(f"{path} has no scores_*.csv: run the evaluation first")
        if split is not None and path.is_dir():
            if (wanted := path / f"scores_{split}.csv") not in found:
                raise ValueError(f"{path} has no {wanted.name}, but {', '.join(sorted(names))}")
            choices[-1] = [wanted]
    if split is not None and not (a.is_dir() or b.is_dir()):
        raise ValueError(f"--split {split} is for folders, and {a} and {b} are files; leave it off or give the folders")
    if all(len(files) == 1 for files in choices):
        return choices[0][0], choices[1][0]
    pairs = [(x, y) for x in choices[0] for y in choices[1] if x.name == y.name or x == a or y == b]
    if len(pairs) != 1:
        lists = "; ".join(
            f"{path} has {', '.join(file.name for file in files)}" for path, files in zip((a, b), choices, strict=True)
        )
        splits = [x.stem.removeprefix("scores_") for x, y in pairs if x.name == y.name]
        options = "".join(f"--split {name} or " for name in splits)
        raise ValueError(f"which scores are meant? {lists}; give {options}the files instead of folders")
    return pairs[0]


def _only_in_one(a: ScoreTable, b: ScoreTable) -> list[list[str]]:
    """The images that only A has, and those that only B has."""
    in_a, in_b = set(a.files), set(b.files)
    return [sorted(in_a - in_b), sorted(in_b - in_a)]


def _without(table: ScoreTable, files: Sequence[str]) -> ScoreTable:
    gone = set(files)
    return table.select(np.array([file not in gone for file in table.files], dtype=bool))


def _failed_cases(summary: Mapping[str, Any]) -> set[str]:
    """The cases that an evaluation could not score, as :func:`_case_of` names them."""
    failed = summary.get("failed", [])
    # of volumes it has reasons by path, of images findings
    paths = list(failed) if isinstance(failed, dict) else [path for problem in failed for path in problem["files"]]
    return {_case_of(Path(path).name) for path in paths}


def _case_of(file: str) -> str:
    """The name of a case, which its image, its mask and its lines in a table (``case/organ``) share."""
    name = file.partition("/")[0]
    stem = nifti_stem(name) or (Path(name).stem if Path(name).suffix.lower() in IMAGE_EXTENSIONS else name)
    return name_key(stem)


def _check_images(a: ScoreTable, b: ScoreTable) -> None:
    only = _only_in_one(a, b)
    if set(a.files).isdisjoint(b.files):
        raise ValueError("the evaluations have no image in common; score both on the same list")
    if any(only):
        parts = [
            f"{len(files)} only in {name} ({', '.join(files[:_NAMES_SHOWN])}{', ...' * (len(files) > _NAMES_SHOWN)})"
            for name, files in zip("AB", only, strict=True)
            if files
        ]
        raise ValueError(
            f"the evaluations are of different images: {', '.join(parts)}; score both on the same list, or compare "
            "what both have with --common"
        )


def _compare(a: np.ndarray, b: np.ndarray, lower_is_better: bool, seed: int) -> dict[str, Any]:
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    with np.errstate(invalid="ignore"):
        difference = np.where(a == b, 0.0, b - a)  # infinity less infinity is no difference
    gain = -difference if lower_is_better else difference
    low, high = bootstrap_interval(difference, seed=seed)
    return {
        "mean_a": _mean(a),
        "mean_b": _mean(b),
        "difference": _mean(difference),
        "interval_95": None if math.isnan(low) else [low, high],
        "better": int((gain > 0).sum()),
        "worse": int((gain < 0).sum()),
        "equal": int((gain == 0).sum()),
        "images": int(known.sum()),
        "lower_is_better": lower_is_better,
    }


def _mean(values: np.ndarray) -> float | None:
    with np.errstate(invalid="ignore"):
        mean = float(values.mean()) if len(values) else float("nan")
    return None if math.isnan(mean) else mean


def _notes(summaries: Sequence[Mapping[str, Any]], tables: Sequence[ScoreTable]) -> list[str]:
    """What a reader should know before believing the numbers."""
    notes = []
    a, b = tables
    for name, one, other in (("A", a, b), ("B", b, a)):
        lone = [score for score in one.scores if score not in other.scores]
        notes += [f"only in {name}: {', '.join(lone)}"] if lone else []
    if all(summaries):
        notes += [
            f"{key} is {summaries[0][key]} in A and {summaries[1][key]} in B"
            for key in _CONDITIONS
            if key in summaries[0] and key in summaries[1] and summaries[0][key] != summaries[1][key]
        ]
        hashes = [summary.get("checkpoint_sha256") for summary in summaries]
        notes += ["both are of the same checkpoint"] if hashes[0] is not None and hashes[0] == hashes[1] else []
    return notes


def _summary_beside(table: Path) -> dict[str, Any]:
    path = table.with_name(f"summary_{table.stem.removeprefix('scores_')}.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

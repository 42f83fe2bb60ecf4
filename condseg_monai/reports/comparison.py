"""Paired comparison of two evaluations, image by image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from condseg_monai.data.ct.nifti import nifti_stem
from condseg_monai.data.images.image_reader import IMAGE_EXTENSIONS
from condseg_monai.data.lists.pairing import name_key
from condseg_monai.metrics.bootstrap import bootstrap_interval
from condseg_monai.reports.score_table import ScoreTable, is_lower_better
from condseg_monai.utils.files import read_json_object

__all__ = ["compare_evaluations", "compare_scores", "find_score_tables"]

_NAMES_SHOWN = 5
_CONDITIONS = ("split", "image_size", "mask_threshold", "empty_distance", "pixel_spacing")


def compare_scores(a: ScoreTable, b: ScoreTable, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Compare two evaluations of the same images, in any order, image by image.

    Returns:
        For each score that both have the means with their intervals, their ``difference`` (b less a) with its bootstrap
        ``interval_95`` over images, ``p_wilcoxon`` of the two-sided signed-rank test, on how many images b is
        ``better``, ``worse`` and ``equal``, and ``lower_is_better``. Images where either score is NaN are left out;
        None stands for NaN and for an interval that cannot be had.

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
    """Compare two score tables; ``common`` leaves out every image that one lacks, not only those reported as failed.

    Returns:
        The files, the number of images compared, those left out, notes, and the scores of :func:`compare_scores`.
    """
    table_a, table_b = ScoreTable.read(a), ScoreTable.read(b)
    summaries = [_summary_beside(path) for path in (a, b)]
    only_a, only_b = _only_in_one(table_a, table_b)
    if not common:
        failed_a, failed_b = map(_failed_files, summaries)
        only_a = [file for file in only_a if _has_failed(file, failed_b)]
        only_b = [file for file in only_b if _has_failed(file, failed_a)]
    table_a, table_b = _without(table_a, only_a), _without(table_b, only_b)
    return {
        "a": str(a),
        "b": str(b),
        "images": len(table_a),
        "left_out": {"only_in_a": only_a, "only_in_b": only_b},
        "notes": _notes(summaries, (table_a, table_b)),
        "scores": compare_scores(table_a, table_b),
    }


def find_score_tables(a: Path, b: Path, split: str | None = None) -> tuple[Path, Path]:
    """Find the CSV files that two arguments name: themselves, or in folders those of ``split`` or the only common one.

    Raises:
        ValueError: if a folder has none, or several are possible, or there is a ``split`` and no folder.
        OSError: if a path does not exist.
    """
    if split is not None and not (a.is_dir() or b.is_dir()):
        raise ValueError(f"--split {split} is for folders, and {a} and {b} are files; leave it off or give the folders")
    choices = [_tables_of(path, split) for path in (a, b)]
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


def _tables_of(path: Path, split: str | None) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a folder of an evaluation or its scores_*.csv")
    if not path.is_dir():
        return [path]
    path = path if any(path.glob("scores_*.csv")) else path / "scores"  # of a run
    found = sorted(path.glob("scores_*.csv"))
    if not found:
        raise ValueError(f"{path.parent} has no scores_*.csv, nor has its folder scores: run the evaluation first")
    if split is None:
        return found
    wanted = path / f"scores_{split}.csv"
    if wanted not in found:
        raise ValueError(f"{path} has no {wanted.name}, but {', '.join(file.name for file in found)}")
    return [wanted]


def _only_in_one(a: ScoreTable, b: ScoreTable) -> tuple[list[str], list[str]]:
    """The images that only A has, and those that only B has."""
    in_a, in_b = set(a.files), set(b.files)
    return sorted(in_a - in_b), sorted(in_b - in_a)


def _without(table: ScoreTable, files: Sequence[str]) -> ScoreTable:
    return table.select(np.array([file not in set(files) for file in table.files], dtype=bool))


def _failed_files(summary: Mapping[str, Any]) -> list[str]:
    """The files, or names, of the cases that an evaluation could not score, without extension."""
    failed = summary.get("failed", [])
    # Of volumes, reasons by path; of images, findings.
    paths = list(failed) if isinstance(failed, dict) else [path for problem in failed for path in problem["files"]]
    return [_without_extension(Path(path).as_posix()) for path in paths]


def _has_failed(file: str, failed: Sequence[str]) -> bool:
    """Whether a line of a table, an image's name or ``case/organ``, is of one of the failed files."""
    is_image = Path(file).suffix.lower() in IMAGE_EXTENSIONS
    case = _without_extension(file if is_image else file.rpartition("/")[0] or file)
    return any(f"/{one}".endswith(f"/{case}") for one in failed)


def _without_extension(file: str) -> str:
    path = Path(file)
    stem = nifti_stem(path.name) or (path.stem if path.suffix.lower() in IMAGE_EXTENSIONS else path.name)
    return name_key((path.parent / stem).as_posix())


def _check_images(a: ScoreTable, b: ScoreTable) -> None:
    if set(a.files).isdisjoint(b.files):
        raise ValueError("the evaluations have no image in common; score both on the same list")
    parts = [
        f"{len(files)} only in {name} ({', '.join(files[:_NAMES_SHOWN])}{', ...' * (len(files) > _NAMES_SHOWN)})"
        for name, files in zip("AB", _only_in_one(a, b), strict=True)
        if files
    ]
    if parts:
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
    return {
        "mean_a": _mean(a),
        "interval_a": _interval(a, seed),
        "mean_b": _mean(b),
        "interval_b": _interval(b, seed),
        "difference": _mean(difference),
        "interval_95": _interval(difference, seed),
        "p_wilcoxon": float(wilcoxon(difference).pvalue) if difference.any() else 1.0,
        "better": int((gain > 0).sum()),
        "worse": int((gain < 0).sum()),
        "equal": int((gain == 0).sum()),
        "images": int(known.sum()),
        "lower_is_better": lower_is_better,
    }


def _interval(values: np.ndarray, seed: int) -> list[float] | None:
    low, high = bootstrap_interval(values, seed=seed)
    return None if math.isnan(low) else [low, high]


def _mean(values: np.ndarray) -> float | None:
    with np.errstate(invalid="ignore"):
        mean = float(values.mean()) if len(values) else float("nan")
    return None if math.isnan(mean) else mean


def _notes(summaries: Sequence[Mapping[str, Any]], tables: Sequence[ScoreTable]) -> list[str]:
    """What a reader should know before believing the numbers."""
    notes = []
    a_table, b_table = tables
    for name, one, other in (("A", a_table, b_table), ("B", b_table, a_table)):
        lone = [score for score in one.scores if score not in other.scores]
        notes += [f"only in {name}: {', '.join(lone)}"] if lone else []
    a, b = ({**summary.get("model", {}), **summary} for summary in summaries)
    for key in dict.fromkeys((*_CONDITIONS, *a.get("model", {}), *b.get("model", {}))):
        if key in a and key in b and a[key] != b[key]:
            notes.append(f"{key} is {a[key]} in A and {b[key]} in B")
    if a.get("checkpoint_sha256") is not None and a.get("checkpoint_sha256") == b.get("checkpoint_sha256"):
        notes.append("both are of the same checkpoint")
    return notes


def _summary_beside(table: Path) -> dict[str, Any]:
    path = table.with_name(f"summary_{table.stem.removeprefix('scores_')}.json")
    try:
        return read_json_object(path)
    except (OSError, ValueError):
        return {}

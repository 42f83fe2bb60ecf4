"""Scores of all folds of a cross-validation, each image scored by the model that did not see it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from condseg_monai.reports.evaluation_page import html_report
from condseg_monai.reports.report_files import ReportFiles
from condseg_monai.reports.score_table import ScoreTable
from condseg_monai.reports.summary import summarize_scores

__all__ = ["pool_folds"]


def pool_folds(
    tables: Sequence[str | os.PathLike[str]], output_dir: str | os.PathLike[str], overwrite: bool = False
) -> dict[str, Any]:
    """Pool the score tables of folds: ``scores_out_of_fold.csv``, ``summary_out_of_fold.json`` and a page.

    Args:
        tables: ``scores_val.csv`` of each fold.
        output_dir: where the three files go.
        overwrite: replace them.

    Returns:
        The summary: ``images``, the ``folds`` (tables with their means), and the ``scores`` over all images with their
        95 % bootstrap intervals.

    Raises:
        FileExistsError: if one of them exists, unless ``overwrite``.
        ValueError: if an image is in two folds, or the tables have different scores.
    """
    files = ReportFiles(Path(output_dir), "out_of_fold")
    if not overwrite:
        files.refuse_earlier()
    read = [ScoreTable.read(table) for table in tables]
    if not read:
        raise ValueError("tables must be one or more, got none")
    images = [file for table in read for file in table.files]
    if twice := [file for file, count in Counter(images).items() if count > 1]:
        raise ValueError(f"{len(twice)} image(s) are in two folds, {twice[0]} for one: score folds of one split")
    if other := [table for table, one in zip(tables, read, strict=True) if one.scores.keys() != read[0].scores.keys()]:
        raise ValueError(f"{other[0]} has other scores than {tables[0]}; score all folds with the same options")
    pooled = ScoreTable(
        images,
        {name: np.concatenate([table.scores[name] for table in read]) for name in read[0].scores},
        {name: np.concatenate([table.images[name] for table in read]) for name in read[0].images},
    )
    summary = {
        "images": len(pooled),
        "folds": [
            {"table": str(path), "images": len(one), "mean": {k: float(np.nanmean(v)) for k, v in one.scores.items()}}
            for path, one in zip(tables, read, strict=True)
        ],
        "scores": summarize_scores(pooled),
    }
    files.write(
        pooled, summary, html_report("Evaluation out of fold", pooled, summary, [], [], next(iter(pooled.scores)))
    )
    return summary

"""Scores of all folds of a cross-validation, each image scored by the model that did not see it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from condseg_monai.data.lists.datalist import datalist_hash
from condseg_monai.data.lists.pairing import find_cases, fold_dir, raise_if_any
from condseg_monai.inference.model_files import find_model
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.reports.evaluation_page import html_report
from condseg_monai.reports.report_files import ReportFiles
from condseg_monai.reports.score_table import ScoreTable
from condseg_monai.reports.summary import summarize_scores

__all__ = ["check_folds", "pool_folds"]


def check_folds(
    run_dir: str | os.PathLike[str], dataset_dir: str | os.PathLike[str], mask_suffix: str = ""
) -> list[int]:
    """Numbers of the folds, after seeing to it that each has a model, trained on the list of its fold as it is now.

    A model's card has the hash of the names it was trained on; ``val.txt`` has none of these, or the lists are refused.
    On which images the model was selected does not matter for that.

    Args:
        run_dir: with the folder of a run in ``fold_K`` for each fold.
        dataset_dir: with lists in ``folds/K``.
        mask_suffix: what masks have behind the stem of their image.

    Raises:
        DatasetError: if the lists of a fold are not right.
        FileNotFoundError: naming the fold without a model, or without lists.
        ValueError: naming the fold whose model was trained on other images.
    """
    runs, root = Path(run_dir), Path(dataset_dir)
    numbers = {int(path.name[5:]) for path in runs.glob("fold_*") if path.name[5:].isdigit()}
    drawn = {int(path.parent.name) for path in root.glob("folds/*/val.txt") if path.parent.name.isdigit()}
    if not numbers:
        raise FileNotFoundError(f"{runs} has no fold_0, fold_1, ...: train them with condseg train DIR --fold K")
    if missing := sorted(drawn - numbers):
        names = ", ".join(f"fold_{fold}" for fold in missing)
        raise FileNotFoundError(f"{runs} has no {names}: train with condseg train {root} --fold {missing[0]}")
    if unknown := sorted(numbers - drawn):
        raise FileNotFoundError(
            f"{runs / f'fold_{unknown[0]}'} is there, but {fold_dir(root, unknown[0]) / 'val.txt'} is not: draw the "
            "lists again as they were, or move the run away"
        )
    for fold in sorted(numbers):
        pairing = find_cases(root, ("train", "val"), fold, mask_suffix)
        raise_if_any(root, pairing.problems)
        checkpoint = find_model(str(runs / f"fold_{fold}"))
        card = ModelCard.of(checkpoint)
        splits = card.training.get("splits", {}) if card else {}
        if splits.get("train", {}).get("sha256") != datalist_hash(pairing.cases["train"]):
            raise ValueError(
                f"fold {fold}: by its model card {checkpoint} was not trained on {fold_dir(root, fold) / 'train.txt'} "
                "as it is now, so that it may have seen the images of val.txt: train the fold again, or draw the lists "
                "again as they were"
            )
    return sorted(numbers)


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
    files = ReportFiles(Path(output_dir), "out_of_fold", overwrite)
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

"""Scores of all folds of a cross-validation, each image scored by the model that did not see it."""

import json

import numpy as np
import pytest

from condseg_monai.reports.folds import pool_folds
from condseg_monai.reports.score_table import ScoreTable


def table(path, files, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    ScoreTable(files, {"val_mean_dice_original": np.array(values)}).write(path)
    return path


def test_all_images_are_pooled(tmp_path):
    tables = [table(tmp_path / "0" / "a.csv", ["a", "b"], [0.2, 0.4]), table(tmp_path / "1" / "a.csv", ["c"], [0.9])]
    summary = pool_folds(tables, tmp_path / "out")
    score = summary["scores"]["val_mean_dice_original"]
    assert summary["images"] == 3 and score["mean"] == pytest.approx(0.5)
    assert score["interval_95"][0] < 0.5 < score["interval_95"][1]
    assert [fold["images"] for fold in summary["folds"]] == [2, 1]
    assert ScoreTable.read(tmp_path / "out" / "scores_out_of_fold.csv").files == ["a", "b", "c"]
    assert json.loads((tmp_path / "out" / "summary_out_of_fold.json").read_text())["images"] == 3
    page = (tmp_path / "out" / "report_out_of_fold.html").read_text()
    assert "Evaluation out of fold" in page and "0.500" in page
    with pytest.raises(FileExistsError, match=r"scores_out_of_fold\.csv is of an earlier report"):
        pool_folds(tables, tmp_path / "out")


def test_image_in_two_folds_is_refused(tmp_path):
    tables = [table(tmp_path / name, ["a"], [0.5]) for name in ("0.csv", "1.csv")]
    with pytest.raises(ValueError, match=r"1 image\(s\) are in two folds, a for one"):
        pool_folds(tables, tmp_path)

"""Scores of all folds of a cross-validation, each image scored by the model that did not see it."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from condseg_monai.cli.commands import main
from condseg_monai.data.lists.datalist import datalist_hash
from condseg_monai.data.lists.pairing import find_cases
from condseg_monai.data.lists.splitting import split_dataset
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.reports.folds import check_folds, pool_folds
from condseg_monai.reports.score_table import ScoreTable


def table(path, files, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    ScoreTable(files, {"mean_dice_original": np.array(values)}).write(path)
    return path


def test_all_images_are_pooled(tmp_path):
    tables = [table(tmp_path / "0" / "a.csv", ["a", "b"], [0.2, 0.4]), table(tmp_path / "1" / "a.csv", ["c"], [0.9])]
    summary = pool_folds(tables, tmp_path / "out")
    score = summary["scores"]["mean_dice_original"]
    assert summary["images"] == 3 and score["mean"] == pytest.approx(0.5)
    assert score["interval_95"][0] < 0.5 < score["interval_95"][1]
    assert [fold["images"] for fold in summary["folds"]] == [2, 1]
    assert ScoreTable.read(tmp_path / "out" / "scores_out_of_fold.csv").files == ["a", "b", "c"]
    assert json.loads((tmp_path / "out" / "summary_out_of_fold.json").read_text())["images"] == 3
    page = (tmp_path / "out" / "report_out_of_fold.html").read_text()
    assert "Evaluation out of fold" in page and "0.500" in page
    with pytest.raises(FileExistsError, match=r"scores_out_of_fold\.csv is of an earlier report"):
        pool_folds(tables, tmp_path / "out")
    assert pool_folds(tables[:1], tmp_path / "out", overwrite=True)["images"] == 2
    assert ScoreTable.read(tmp_path / "out" / "scores_out_of_fold.csv").files == ["a", "b"]


def test_image_in_two_folds_is_refused(tmp_path):
    tables = [table(tmp_path / name, ["a"], [0.5]) for name in ("0.csv", "1.csv")]
    with pytest.raises(ValueError, match=r"1 image\(s\) are in two folds, a for one"):
        pool_folds(tables, tmp_path)


@pytest.fixture
def folds(tmp_path):
    """A data set of two folds, and the folder of their runs: weights of no content, with cards."""
    data, runs = tmp_path / "data", tmp_path / "runs"
    for name in ("images", "masks"):
        (data / name).mkdir(parents=True)
        for i in range(8):
            Image.new("L", (4, 4), 10 * i if name == "images" else 255).save(data / name / f"{i}.png")
    split_dataset(data, folds=2)
    for fold in range(2):
        cases = find_cases(data, ("train",), fold).cases["train"]
        (runs / f"fold_{fold}" / "models").mkdir(parents=True)
        (runs / f"fold_{fold}" / "models" / "model.pt").touch()
        splits = {"train": {"sha256": datalist_hash(cases)}}
        card = ModelCard("unet", {}, weights={"sha256": "0" * 64}, training={"splits": splits})
        card.write(runs / f"fold_{fold}" / "models" / "model.json")
    return runs, data


def test_models_of_the_lists_as_they_are_pass(folds):
    assert check_folds(*folds) == [0, 1]


def test_model_that_was_trained_on_other_lists_is_refused(folds, capsys):
    runs, data = folds
    split_dataset(data, folds=2, seed=5, overwrite=True)
    assert main(["evaluate", str(runs), str(data), "--folds"]) == 1
    said = capsys.readouterr().err
    assert (
        f"fold 0: by its model card {runs}/fold_0/models/model.pt was not trained on {data}/folds/0/train.txt" in said
    )
    assert "train the fold again, or draw the lists again as they were" in said
    split_dataset(data, folds=2, overwrite=True)
    assert check_folds(runs, data) == [0, 1]


def test_copy_of_another_fold_and_a_model_without_a_card_are_refused(folds):
    runs, data = folds
    shutil.rmtree(runs / "fold_1")
    shutil.copytree(runs / "fold_0", runs / "fold_1")
    with pytest.raises(ValueError, match=r"^fold 1: "):
        check_folds(runs, data)
    (runs / "fold_0" / "models" / "model.json").unlink()
    with pytest.raises(ValueError, match=r"^fold 0: "):
        check_folds(runs, data)


def test_folds_without_a_model_or_without_lists_are_named(folds):
    runs, data = folds
    split_dataset(data, folds=4, overwrite=True)
    with pytest.raises(
        FileNotFoundError, match=r"runs has no fold_2, fold_3: train with condseg train .*data --fold 2"
    ):
        check_folds(runs, data)
    split_dataset(data, folds=2, overwrite=True)
    (data / "folds" / "1" / "val.txt").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"fold_1 is there, but .*folds/1/val\.txt is not: draw the lists again"
    ):
        check_folds(runs, data)


@pytest.mark.parametrize("report", ["fold_1/scores_val.csv", "summary_out_of_fold.json"])
def test_earlier_report_is_refused_before_the_first_fold_is_scored(folds, report, capsys):
    runs, data = folds
    path = runs / "scores" / report
    path.parent.mkdir(parents=True)
    path.touch()
    assert main(["evaluate", str(runs), str(data), "--folds"]) == 1
    output = capsys.readouterr()
    assert f"{path} is of an earlier report" in output.err and output.out == ""

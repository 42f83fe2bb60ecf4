"""Summary statistics, over all images and by lesion size."""

import json

import numpy as np
import pytest

from condseg_monai.metrics.bootstrap import bootstrap_interval
from condseg_monai.reports.score_table import ScoreTable
from condseg_monai.reports.summary import json_numbers, summarize_scores, summarize_sizes


def test_summary_is_of_the_images_that_have_the_score(table):
    summary = summarize_scores(table)
    dice = table.scores["mean_dice_original"]
    assert summary["mean_dice_original"] == {
        "mean": pytest.approx(0.65),
        "std": pytest.approx(dice.std()),
        "median": pytest.approx(0.75),
        "interval_95": list(bootstrap_interval(dice)),
        "images": 6,
    }
    distance = summary["hd95_original"]
    assert (distance["mean"], distance["median"], distance["images"]) == (np.inf, 3.0, 5)
    assert distance["std"] is distance["interval_95"] is None


def test_score_that_no_image_has_is_none():
    summary = summarize_scores(ScoreTable(["a"], {"hd95": np.array([np.nan])}))["hd95"]
    assert summary == {"mean": None, "std": None, "median": None, "interval_95": None, "images": 0}
    assert "NaN" not in json.dumps(summary)


def test_one_image_has_no_interval():
    summary = summarize_scores(ScoreTable(["a"], {"mean_dice": np.array([0.5])}))["mean_dice"]
    assert (summary["mean"], summary["interval_95"], summary["images"]) == (0.5, None, 1)


def test_groups_are_summarized_by_themselves(table):
    sizes = summarize_sizes(table)
    assert {name: group["images"] for name, group in sizes.items()} == {"empty": 1, "small": 1, "medium": 2, "large": 2}
    assert sizes["medium"]["scores"]["mean_dice_original"]["mean"] == pytest.approx(0.65)
    assert sizes["large"]["scores"]["hd95_original"]["images"] == 1
    assert summarize_sizes(ScoreTable(table.files, table.scores)) == {}


def test_json_has_no_numbers_that_only_python_reads(table):
    content = json_numbers({"scores": summarize_scores(table), "rest": [float("nan"), (1, -np.inf)]})
    text = json.dumps(content, allow_nan=False)
    assert json.loads(text)["rest"] == [None, [1, "-inf"]]
    assert float(content["scores"]["hd95_original"]["mean"]) == np.inf

"""Comparison of two evaluations, and its command."""

import csv
import json

import numpy as np
import pytest

from condseg_monai.cli.commands import main
from condseg_monai.metrics.bootstrap import bootstrap_interval
from condseg_monai.reports.comparison import compare_scores, find_score_tables
from condseg_monai.reports.score_table import ScoreTable

FILES = [f"{index}.png" for index in range(8)]


def evaluation(folder, dice, files=FILES, name="scores_val.csv", **scores):
    """Write a table of an evaluation and return its folder."""
    folder.mkdir(exist_ok=True)
    columns = {"mean_dice": dice, **scores}
    ScoreTable(list(files), {key: np.asarray(values, dtype=float) for key, values in columns.items()}).write(
        folder / name
    )
    return folder


DICE = np.linspace(0.2, 0.9, 8)


def test_difference_is_taken_image_by_image_whatever_the_order(tmp_path):
    a = evaluation(tmp_path / "a", DICE)
    b = evaluation(tmp_path / "b", (DICE + 0.05)[::-1], FILES[::-1])
    found = compare_scores(*(ScoreTable.read(path / "scores_val.csv") for path in (a, b)))["mean_dice"]
    assert found["difference"] == pytest.approx(0.05)
    assert found["interval_95"] == pytest.approx([0.05, 0.05])  # unpaired, it would be wide
    assert (found["mean_a"], found["mean_b"]) == pytest.approx((DICE.mean(), DICE.mean() + 0.05))
    assert (found["better"], found["worse"], found["equal"], found["images"]) == (8, 0, 0, 8)


def test_evaluation_does_not_differ_from_itself(tmp_path):
    table = ScoreTable(FILES, {"hd95_original": np.array([np.inf, np.nan, 1, 2, 3, 4, 5, 6])})
    found = compare_scores(table, table)["hd95_original"]
    assert (found["difference"], found["interval_95"], found["equal"], found["images"]) == (0, [0, 0], 7, 7)


def test_shorter_distances_are_better_and_missing_ones_are_left_out():
    a = ScoreTable(FILES, {"hd95": np.array([5, 5, 5, 5, np.nan, 5, 5, 5.0])})
    b = ScoreTable(FILES, {"hd95": np.array([4, 4, 4, 5, 4, np.nan, 6, 4.0])})
    found = compare_scores(a, b)["hd95"]
    assert (found["better"], found["worse"], found["equal"], found["images"]) == (4, 1, 1, 6)
    assert found["lower_is_better"]
    assert found["difference"] == pytest.approx(-0.5)


def test_other_images_are_refused_by_name(tmp_path, capsys):
    a = evaluation(tmp_path / "a", DICE)
    b = evaluation(tmp_path / "b", DICE, [*FILES[:-1], "other.png"])
    assert main(["compare", str(a), str(b)]) == 1
    error = capsys.readouterr().err
    assert "different images: 1 only in A (7.png), 1 only in B (other.png)" in error


def test_models_with_other_settings_are_noted(tmp_path, capsys):
    a, b = evaluation(tmp_path / "a", DICE), evaluation(tmp_path / "b", DICE + 0.1)
    model = {"method": "condseg", "encoder": "resnet18", "image_size": 96}
    (a / "summary_val.json").write_text(json.dumps({"model": model, "image_size": 96}))
    (b / "summary_val.json").write_text(json.dumps({"model": {**model, "encoder": "resnet50"}, "image_size": 96}))
    assert main(["compare", str(a), str(b)]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert notes == ["note: encoder is resnet18 in A and resnet50 in B"]


def finding(*files):
    return {"kind": "unreadable", "text": "cannot read it", "files": list(files)}


def test_images_that_one_evaluation_could_not_score_are_left_out_and_named(tmp_path, capsys):
    a = evaluation(tmp_path / "a", DICE[1:], FILES[1:])
    b = evaluation(tmp_path / "b", DICE[:-2] + 0.1, FILES[:-2])
    failed_a = [finding("/data/images/0.png")]
    failed_b = [finding("data/images/6.png"), finding("data/images/7.png", "data/masks/7.jpg")]
    (a / "summary_val.json").write_text(json.dumps({"failed": failed_a}))
    (b / "summary_val.json").write_text(json.dumps({"failed": failed_b}))
    assert main(["compare", str(a), str(b)]) == 0
    said = capsys.readouterr()
    assert "5 images, each in both" in said.out
    assert "warning: left out: 2 of the images of A, which B has no scores for: 6.png, 7.png" in said.err
    assert "warning: left out: 1 of the images of B, which A has no scores for: 0.png" in said.err
    assert main(["compare", str(a), str(b), "--json"]) == 0
    said = capsys.readouterr()
    (result,) = json.loads(said.out)
    assert result["left_out"] == {"only_in_a": ["6.png", "7.png"], "only_in_b": ["0.png"]}
    assert said.err.count("warning: left out") == 2
    found = result["scores"]["mean_dice"]
    assert (result["images"], found["images"]) == (5, 5)
    assert found["mean_a"] == pytest.approx(DICE[1:6].mean())  # of the five, not of all that A has
    assert found["difference"] == pytest.approx(0.1)


def test_failed_cases_do_not_excuse_other_missing_images(tmp_path, capsys):
    a, b = evaluation(tmp_path / "a", DICE), evaluation(tmp_path / "b", DICE[:-2] + 0.1, FILES[:-2])
    (b / "summary_val.json").write_text(json.dumps({"failed": [finding("images/7.png")]}))
    (a / "summary_val.json").write_text(json.dumps({"failed": [finding("images/6.png")]}))  # of the wrong side
    assert main(["compare", str(a), str(b)]) == 1
    said = capsys.readouterr()
    assert "different images: 1 only in A (6.png)" in said.err and "--common" in said.err and not said.out
    assert main(["compare", str(a), str(b), "--common"]) == 0
    said = capsys.readouterr()
    assert "6 images, each in both" in said.out
    assert "left out: 2 of the images of A, which B has no scores for: 6.png, 7.png" in said.err


def test_organs_of_a_failed_volume_are_left_out(tmp_path, capsys):
    rows = [f"case.{case}/{organ}" for case in "12" for organ in ("liver", "spleen")]
    a = evaluation(tmp_path / "a", DICE[:4], rows, "scores_volumes.csv")
    b = evaluation(tmp_path / "b", DICE[:2], rows[:2], "scores_volumes.csv")
    (b / "summary_volumes.json").write_text(json.dumps({"failed": {"pred/case.2.nii.gz": "cut short"}}))
    assert main(["compare", str(a), str(b)]) == 0
    assert "left out: 2 of the images of A, which B has no scores for: case.2/liver, case.2/spleen" in (
        capsys.readouterr().err
    )


def test_nothing_in_common_is_an_error(tmp_path, capsys):
    a = evaluation(tmp_path / "a", DICE)
    b = evaluation(tmp_path / "b", DICE, [f"other{name}" for name in FILES])
    assert main(["compare", str(a), str(b), "--common"]) == 1
    assert "no image in common" in capsys.readouterr().err


def test_table_is_readable(tmp_path, capsys):
    a = evaluation(tmp_path / "a", DICE, hd95_original=10 - DICE, only_a=DICE)
    b = evaluation(tmp_path / "b", DICE + 0.05, hd95_original=10 - DICE)
    for folder, size in ((a, 256), (b, 352)):
        (folder / "summary_val.json").write_text(json.dumps({"image_size": size, "checkpoint_sha256": "ab"}))
    assert main(["compare", str(a), str(b)]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("mean_dice"))
    assert row.split() == [
        "mean_dice",
        "0.5500",
        "0.6000",
        "+0.0500",
        "+0.0500",
        "to",
        "+0.0500",
        "*",
        "8/0/0",
        "8",
    ]
    assert any(line.startswith("hd95_original (lower is better)") and "0/0/8" in line for line in lines)
    assert "note: image_size is 256 in A and 352 in B" in lines
    assert "note: only in A: only_a" in lines
    assert "note: both are of the same checkpoint" in lines


def test_json_holds_the_same(tmp_path, capsys):
    a, b = evaluation(tmp_path / "a", DICE), evaluation(tmp_path / "b", DICE - 0.1)
    assert main(["compare", str(a / "scores_val.csv"), str(b), "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["images"] == 8
    assert result["scores"]["mean_dice"]["difference"] == pytest.approx(-0.1)


def test_tables_are_found_by_split(tmp_path):
    a, b = evaluation(tmp_path / "a", DICE), evaluation(tmp_path / "b", DICE)
    evaluation(b, DICE, name="scores_test.csv")
    assert find_score_tables(a, b) == (a / "scores_val.csv", b / "scores_val.csv")
    assert find_score_tables(a, b / "scores_test.csv") == (a / "scores_val.csv", b / "scores_test.csv")
    evaluation(a, DICE, name="scores_test.csv")
    with pytest.raises(ValueError, match=r"which scores are meant\?.*scores_test.csv, scores_val.csv; give --split"):
        find_score_tables(a, b)


def test_one_of_several_splits_is_compared_on_demand(tmp_path, capsys):
    a, b = evaluation(tmp_path / "a", DICE), evaluation(tmp_path / "b", DICE)
    for folder, gain in ((a, 0), (b, 0.1)):
        evaluation(folder, DICE / 2 + gain, name="scores_test.csv")
    assert main(["compare", str(a), str(b)]) == 1
    assert "give --split test or --split val or the files instead of folders" in capsys.readouterr().err
    assert main(["compare", str(a), str(b), "--split", "test", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["a"], found["b"]) == (str(a / "scores_test.csv"), str(b / "scores_test.csv"))
    assert found["scores"]["mean_dice"]["difference"] == pytest.approx(0.1)
    assert find_score_tables(a, b / "scores_val.csv", "test") == (a / "scores_test.csv", b / "scores_val.csv")
    assert main(["compare", str(a), str(b), "--split", "tset"]) == 1
    assert "a has no scores_tset.csv, but scores_test.csv, scores_val.csv" in capsys.readouterr().err
    assert main(["compare", str(a / "scores_val.csv"), str(b / "scores_val.csv"), "--split", "test"]) == 1
    assert "scores_val.csv are files; leave it off or give the folders" in capsys.readouterr().err


def test_what_is_not_there_is_an_error(tmp_path, capsys):
    a = evaluation(tmp_path / "a", DICE)
    (tmp_path / "empty").mkdir()
    assert main(["compare", str(a), str(tmp_path / "empty")]) == 1
    assert "has no scores_*.csv" in capsys.readouterr().err
    assert main(["compare", str(a), str(tmp_path / "nowhere")]) == 1
    assert "nowhere does not exist" in capsys.readouterr().err


def test_three_evaluations_as_page_and_tables(tmp_path, capsys):
    gains = {"a": 0, "b": 0.05, "c": -0.1}
    a, b, c = (evaluation(tmp_path / name, DICE + gain, hd95_original=10 - DICE) for name, gain in gains.items())
    out = tmp_path / "out"
    assert main(["compare", *map(str, (a, b, c)), "--output_dir", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.count("8 images, each in both") == 2 and str(out / "comparison.html") in said
    rows = list(csv.DictReader((out / "comparison.csv").open()))
    dice = {row["evaluation"]: row for row in rows if row["score"] == "mean_dice"}
    assert [(row["mean"], row["less that of A"]) for row in dice.values()] == [
        ("0.5500", ""),
        ("0.6000", "+0.0500"),
        ("0.4500", "-0.1000"),
    ]
    assert float(dice["B"]["p (Wilcoxon)"]) == pytest.approx(2 / 2**8, rel=0.05)  # all eight on one side
    low, high = bootstrap_interval(DICE + 0.05)
    assert f"| mean_dice | B | 0.6000 | {low:.4f} to {high:.4f} | +0.0500 |" in (out / "comparison.md").read_text()
    latex = (out / "comparison.tex").read_text()
    assert r"mean\_dice & C & 0.4500" in latex and latex.startswith(r"\begin{tabular}{lrrrrrrr}")
    page = (out / "comparison.html").read_text()
    assert page.count("<circle") == 6 and all(str(folder) in page for folder in (a, b, c))
    before = page
    assert main(["compare", str(a), str(c), "--output_dir", str(out)]) == 1
    assert "comparison.html is of an earlier comparison: give another --output_dir" in capsys.readouterr().err
    assert (out / "comparison.html").read_text() == before
    assert main(["compare", str(a), str(c), "--output_dir", str(out), "--overwrite"]) == 0


def test_difference_stands_below_the_mean_of_the_same_images(tmp_path):
    a, b = evaluation(tmp_path / "a", DICE), evaluation(tmp_path / "b", DICE)
    c = evaluation(tmp_path / "c", (DICE - 0.1)[2:], FILES[2:])
    out = tmp_path / "out"
    assert main(["compare", *map(str, (a, b, c)), "--common", "--output_dir", str(out)]) == 0
    rows = [row for row in csv.DictReader((out / "comparison.csv").open()) if row["score"] == "mean_dice"]
    assert [(row["evaluation"], row["images"]) for row in rows] == [("A", "8"), ("B", "8"), ("A", "6"), ("C", "6")]
    assert [row["mean"] for row in rows[2:]] == [f"{mean:.4f}" for mean in (DICE[2:].mean(), DICE[2:].mean() - 0.1)]
    assert rows[3]["less that of A"] == "-0.1000"
    left_out = "A and C: 2 images are left out, for which one of the two has no scores: 0.png, 1.png"
    assert left_out in (out / "comparison.html").read_text()


def test_no_score_in_common_is_an_error():
    with pytest.raises(ValueError, match="no score is in both: A has x; B has y"):
        compare_scores(ScoreTable(FILES, {"x": DICE}), ScoreTable(FILES, {"y": DICE}))

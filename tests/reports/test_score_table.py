"""Score table as CSV."""

import numpy as np
import pytest

from condseg_monai.reports.score_table import ScoreTable, is_lower_better


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_written_is_read(table, tmp_path):
    table.write(tmp_path / "scores.csv")
    read = ScoreTable.read(tmp_path / "scores.csv")
    assert read.files == table.files
    assert (list(read.scores), list(read.images)) == (list(table.scores), list(table.images))
    for name, values in {**table.scores, **table.images}.items():
        np.testing.assert_allclose({**read.scores, **read.images}[name], values, atol=5e-7)


def test_file_has_sizes_as_integers_and_names_as_they_are(table, tmp_path):
    table.write(tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "file,height,width,label_share,mean_iou,mean_dice_original,hd95_original"
    assert lines[4] == "c.png,40,36,0.200000,0.000000,0.000000,nan"


def test_names_that_spreadsheets_take_for_formulas_are_neutralised_and_read_back(tmp_path):
    names = ['=HYPERLINK("x").png', "+1.png", "-2.png", "@a.png", "'b.png", "caf\udce9.png"]  # the last is Latin-1
    ScoreTable(names, {"mean_dice": np.zeros(6)}).write(tmp_path / "scores.csv")
    content = (tmp_path / "scores.csv").read_bytes()
    assert content.count(b"'=") == content.count(b"'+") == content.count(b"'-") == content.count(b"'@") == 1
    assert b"caf\xe9.png" in content
    assert ScoreTable.read(tmp_path / "scores.csv").files == names


def test_worst_comes_first_whichever_way_is_better(table):
    assert table.ranked("mean_dice_original") == [3, 1, 4, 5, 0, 2]
    assert table.ranked("hd95_original") == [3, 4, 1, 5, 0, 2]  # NaN, infinity, then the longest


def test_rows_are_selected_by_index_or_mask(table):
    by_index, by_mask = table.select([4, 1]), table.select(table.images["label_share"] >= 0.2)
    assert (by_index.files, by_mask.files) == (["d.png", "b 2.png"], ["c.png", "d.png"])
    assert by_index.scores["mean_dice_original"].tolist() == [0.7, 0.5]


@pytest.mark.parametrize(
    ("name", "lower"),
    [("hd95_original", True), ("mae_original", True), ("mean_dice", False), ("s_measure", False)],
)
def test_distances_and_errors_are_better_when_low(name, lower):
    assert is_lower_better(name) == lower


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a table of scores"),
        ("name,mean_iou\na.png,1\n", "is not a table of scores"),
        ("file\na.png\n", "is not a table of scores"),
        ("file,mean_iou\n", "has no images"),
        ("file,mean_iou\na.png,1\na.png,0\n", "more than one line of a.png"),
        ("file,mean_iou\na.png,good\n", "line 2: mean_iou is 'good', not a number"),
        ("file,mean_iou\na.png,1,2\n", "line 2 has 3 cells, the first line 2"),
    ],
)
def test_what_is_no_table_raises(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        ScoreTable.read(write(tmp_path / "scores.csv", text))


def test_columns_of_other_lengths_raise():
    with pytest.raises(ValueError, match="column mean_iou has 1 values for 2 images"):
        ScoreTable(["a", "b"], {"mean_iou": np.zeros(1)})

"""Tables and figures of the papers by one command."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from PIL import Image

from condseg_monai.cli.workflows import config_file, option_names
from experiments import reproduce
from tests.experiments.test_compare_methods import write_scores

ROWS = [(item, name) for item, entry in reproduce.ITEMS.items() for name in entry.rows]


def call(monkeypatch: pytest.MonkeyPatch, output_dir: Path, *words: str, dataset_dir: Path | str = ".") -> None:
    item, *more = words
    places = ["--dataset_dir", str(dataset_dir), "--output_dir", str(output_dir)]
    monkeypatch.setattr("sys.argv", ["reproduce.py", item, *places, *more])
    reproduce.main()


@pytest.mark.parametrize(("item", "name"), ROWS)
def test_every_row_names_options_that_its_configs_have(item, name):
    row = reproduce.ITEMS[item].rows[name]
    stage1 = option_names(row.files.stage1 or row.files.train)
    for option in row.options:
        if option == "stage1_epochs":
            continue
        assert option.removeprefix("stage1_") in (
            stage1 if option.startswith("stage1_") else option_names(row.files.train)
        )
    for files in filter(None, (row.files.stage1, row.files.train)):
        parser = ConfigParser(ConfigParser.load_config_files([str(config_file(file)) for file in files]))
        assert "train" in parser


@pytest.mark.parametrize(
    ("words", "titles"),
    [(["table7", "--rows", "1", "3"], ["K 1", "K 3"]), (["table3", "--rows", "net0_cr", "two_stages"], None)],
)
def test_two_rows_are_trained_scored_and_kept(words, titles, tiny_dataset, tmp_path, monkeypatch, capsys):
    more = [*words, "--budget", "tiny", "--", "--device", "cpu"]
    call(monkeypatch, tmp_path, *more, dataset_dir=tiny_dataset)
    assert (tmp_path / "table.md").read_text() in capsys.readouterr().out
    table = list(csv.reader((tmp_path / "table.csv").open()))
    assert [row[0] for row in table[1:]] == (titles or ["Net_0 with Consistency Reinforcement", "two stages"])
    assert (tmp_path / "table.tex").read_text().count(r"\\") == 3
    assert (tmp_path / "figure.png").exists() == (words[0] == "table7")
    monkeypatch.setattr(reproduce, "run", lambda *_: pytest.fail("all is scored already"))
    call(monkeypatch, tmp_path, *more, dataset_dir=tiny_dataset)
    more[more.index("tiny")] = "small"
    with pytest.raises(ValueError, match="was trained with other options"):
        call(monkeypatch, tmp_path, *more, dataset_dir=tiny_dataset)


def test_stages_get_the_options_of_row_budget_and_command_line(tmp_path):
    words = ["med_disseg_table3", "--dataset_dir", ".", "--output_dir", "o", "--budget", "small"]
    arguments, given = reproduce.parse([*words, "--", "--stage1_batch_size", "3"])
    row = reproduce.ITEMS["med_disseg_table3"].rows["disp1"]
    (files1, first), (files2, second) = reproduce.stages(row, arguments, given)
    assert (files1, files2) == (("train_stage1", "med_disseg"), ("train_stage2", "med_disseg"))
    assert (first["dispersive_weight"], second["dispersive_weight"]) == (0.2, 0.0)
    assert (first["epochs"], second["epochs"], first["batch_size"], second["batch_size"]) == (5, 10, 3, 8)
    table6 = reproduce.ITEMS["table6"].rows
    epochs = [reproduce.stages(row, arguments, {})[0][1]["epochs"] for row in table6.values()]
    assert epochs == [5, 10, 20, 50, 100]


def test_published_numbers_stand_beside_ours(tmp_path, monkeypatch):
    for name in ("unet", "condseg"):
        write_scores(tmp_path / name / "seed0", {"a": 0.5, "b": 0.7})
    monkeypatch.setattr(reproduce, "run", lambda *_: pytest.fail("all is scored already"))
    call(monkeypatch, tmp_path, "table1")
    table = list(csv.reader((tmp_path / "table.csv").open()))
    assert [row[0] for row in table] == ["row", "U-Net (here MONAI's)", "ConDSeg"]
    assert [row[-1] for row in table[1:]] == ["23.1", "81.2"]
    assert table[1][2] == "60.0"


def test_figures_are_drawn(tmp_path, monkeypatch):
    for name in ("0.3", "0.5"):
        write_scores(tmp_path / name / "seed0", {"a": 0.5, "b": 0.7})
    monkeypatch.setattr(reproduce, "run", lambda *_: None)
    call(monkeypatch, tmp_path, "figure6", "--rows", "0.3", "0.5")
    assert Image.open(tmp_path / "figure.png").size == (900, 600)


def test_curves_are_those_of_the_trainings(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.axes.Axes.plot", lambda _, x, y, label: drawn.append((label, x, y)))
    monkeypatch.setattr("matplotlib.axes.Axes.legend", lambda _: None)
    write_scores(tmp_path / "unet" / "seed0", {"a": 0.5})
    history = "epoch,learning_rate/encoder,loss/total,val_loss,val_mean_iou\n1,0.1,2,1,0.25\n2,0.1,2,1,0.5\n"
    (tmp_path / "unet" / "seed0" / "history_stage2.csv").write_text(history)
    monkeypatch.setattr(reproduce, "run", lambda *_: None)
    call(monkeypatch, tmp_path, "figure5", "--rows", "unet")
    assert drawn == [("unet", [1, 2], [0.25, 0.5])]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table7", "--rows", "2"], "table7 has 1, 3, 5, 7, not 2"),
        (["table2"], "invalid choice"),
        (["table7", "--", "--image_sise", "3"], "after --"),
    ],
)
def test_wrong_arguments_end_with_a_message(words, message, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, tmp_path, *words)
    assert message in capsys.readouterr().err

"""One command that trains several methods and puts them into one table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from condseg_monai import TwoStreamBatchSampler
from condseg_monai.metrics.bootstrap import bootstrap_interval
from experiments import compare_methods

TINY = ["--image_size", "32", "--decoder_channels", "4", "--encoder", "resnet18", "--device", "cpu"]


def call(monkeypatch: pytest.MonkeyPatch, output_dir: Path, *words: str, dataset_dir: Path | str = ".") -> int:
    arguments = ["--dataset_dir", str(dataset_dir), "--output_dir", str(output_dir), *words]
    monkeypatch.setattr("sys.argv", ["compare_methods.py", *arguments])
    return compare_methods.main()


def write_scores(folder: Path, dice: dict[str, float]) -> None:
    (folder / "scores").mkdir(parents=True)
    lines = [f"{file},{value},{value / 2}" for file, value in dice.items()]
    (folder / "scores" / "scores_test.csv").write_text("\n".join(["file,mean_dice,mean_iou", *lines]) + "\n")


def test_methods_are_trained_scored_and_kept(
    tiny_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    words = ["--methods", "med_disseg", "unet", "--seeds", "3", "--epochs", "3", "--", *TINY]
    assert call(monkeypatch, tmp_path, *words, dataset_dir=tiny_dataset) == 0
    records = {
        name: json.loads((tmp_path / name / "seed3" / "models" / f"run_{stage}.json").read_text())
        for name, stage in (("med_disseg", "stage2"), ("unet", "stage2"))
    }
    first_stage = json.loads((tmp_path / "med_disseg" / "seed3" / "models" / "run_stage1.json").read_text())
    assert (first_stage["result"]["epochs"], records["med_disseg"]["result"]["epochs"]) == (1, 2)
    assert records["unet"]["result"]["epochs"] == 3
    assert {record["options"]["seed"] for record in records.values()} == {3}
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert [row["method"] for row in found["methods"]] == ["med_disseg", "unet"]
    assert [row["images"] for row in found["methods"]] == [2, 2]
    assert (tmp_path / "comparison.md").read_text() in capsys.readouterr().out

    ran = []
    monkeypatch.setattr(compare_methods, "run", lambda files, options: ran.append((files, options)))
    assert call(monkeypatch, tmp_path, *words, dataset_dir=tiny_dataset) == 0
    assert ran == []  # all was trained and scored already

    other = ["--score_dir", str(tmp_path / "other"), "--split", "val"]
    call(monkeypatch, tmp_path, *other, *words, dataset_dir=tiny_dataset)
    assert [(files[-1], options["split"]) for files, options in ran] == [("evaluate", "val")] * 2
    assert {options["dataset_dir"] for _, options in ran} == {str(tmp_path / "other")}
    assert Path(ran[0][1]["output_dir"]).parent == tmp_path / "med_disseg" / "seed3"
    assert [path.name[:17] for path in tmp_path.glob("comparison_*.json")] == ["comparison_other_"]
    elsewhere = ["--score_dir", str(tmp_path / "elsewhere" / "other"), "--split", "val"]
    call(monkeypatch, tmp_path, *elsewhere, *words, dataset_dir=tiny_dataset)
    folders = {options["output_dir"] for files, options in ran}
    assert len(folders) == len(ran) == 4  # two methods on two data sets of one name


def test_an_option_that_a_method_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(compare_methods, "run", lambda *_: None)
    options, methods = ["--lr_schedule", "cosine", "--class_balance", "0.5"], ["condseg", "dec_seg", "condseg_student"]
    call(monkeypatch, tmp_path, "--methods", *methods, "--seeds", "0", "--", *options)
    assert [record.message for record in caplog.records if "no option" in record.message] == [
        "dec_seg has no option class_balance, lr_schedule: trained without",
        "condseg_student has no option lr_schedule: trained without",
    ]


def test_the_table_is_what_the_scores_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = [{"a": 0.2, "b": 0.4, "c": 0.9}, {"c": 0.7, "a": 0.4, "b": 0.4}]
    second = [{"a": 0.5, "b": 0.5, "c": 0.5}, {"a": 0.3, "b": 0.6, "c": 0.9}]
    for name, seeds in (("condseg", first), ("unet", second)):
        for seed, dice in enumerate(seeds):
            write_scores(tmp_path / name / f"seed{seed}", dice)
    assert call(monkeypatch, tmp_path, "--methods", "condseg", "unet", "--seeds", "0", "1") == 0
    condseg, unet = json.loads((tmp_path / "comparison.json").read_text())["methods"]
    images = np.array([0.3, 0.4, 0.8])
    others = np.array([0.4, 0.55, 0.7])
    dice = condseg["scores"]["mean_dice"]
    assert dice["mean"] == pytest.approx(images.mean())
    assert dice["by_seed"] == pytest.approx([0.5, 0.5])
    assert dice["interval_95"] == pytest.approx(bootstrap_interval(images))
    assert "difference" not in dice
    assert condseg["scores"]["mean_iou"]["mean"] == pytest.approx(images.mean() / 2)
    assert unet["scores"]["mean_dice"]["difference"] == pytest.approx((others - images).mean())
    assert unet["scores"]["mean_dice"]["difference_interval_95"] == pytest.approx(bootstrap_interval(others - images))
    assert "| MONAI's UNet | 0.550 | 0.500, 0.600 |" in (tmp_path / "comparison.md").read_text()


def test_a_method_that_fails_is_named_and_the_others_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def train(name: str, seed: int, *_: object) -> None:
        if name == "condseg":
            raise RuntimeError("Failed to evaluate") from ValueError("no memory")
        write_scores(tmp_path / name / f"seed{seed}", {"a": 0.1, "b": 0.3})

    monkeypatch.setattr(compare_methods, "train_and_score", train)
    assert call(monkeypatch, tmp_path, "--methods", "condseg", "unet", "--seeds", "0") == 1
    captured = capsys.readouterr()
    assert "MONAI's UNet | 0.200" in captured.out
    assert "failed: condseg, seed 0: ValueError: no memory" in captured.err
    assert json.loads((tmp_path / "comparison.json").read_text())["failed"] == [
        "condseg, seed 0: ValueError: no memory"
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--", "--image_sise", "32"],
            "no such option: image_sise (did you mean image_size?); there are anti_aliasing, batch_size, ",
        ),
        (["--epochs", "2"], "--epochs must be at least 3"),
        (["--methods", "nnunet"], "invalid choice: 'nnunet'"),
        (["--", "--image_size"], "after --: --image_size needs a value"),
    ],
)
def test_wrong_arguments_end_with_a_message(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        call(monkeypatch, tmp_path, *words)
    assert message in capsys.readouterr().err


def test_methods_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.argv", ["compare_methods.py", "--list"])
    with pytest.raises(SystemExit):
        compare_methods.main()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(compare_methods.METHODS)


def test_few_labels_get_as_many_steps_as_all(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ran = []
    monkeypatch.setattr(compare_methods, "run", lambda files, options: ran.append((files, options)))
    call(monkeypatch, tmp_path, "--seeds", "0", "--epochs", "9", dataset_dir=tiny_dataset)
    epochs = {
        Path(options["output_dir"]).parent.name: options["epochs"] for files, options in ran if "evaluate" not in files
    }
    assert epochs["condseg"] == epochs["condseg_without_cr"] == 6  # a third goes to stage 1
    assert epochs["condseg_one_stage"] == epochs["unet"] == 9
    few = ("dec_seg", "dec_seg_supervised", "condseg_student", "condseg_student_supervised")
    images, batch_size = 156, compare_methods.OPTIONS["batch_size"]
    for name in few:
        sampler = TwoStreamBatchSampler(
            labeled=images // 4,
            unlabeled=images - images // 4,
            labeled_batch_size=batch_size // 2,
            unlabeled_batch_size=4,
        )
        assert epochs[name] * len(sampler) == 9 * -(-images // batch_size)

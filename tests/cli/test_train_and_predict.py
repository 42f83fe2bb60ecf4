"""Commands ``train``, ``evaluate``, ``predict`` and ``info``, one after the other on tiny images."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest
from PIL import Image

from condseg_monai.cli import train
from condseg_monai.cli.commands import main
from condseg_monai.cli.config_options import OptionValue, config_defaults
from condseg_monai.data.synthetic.ct_phantom import make_synthetic_ct
from condseg_monai.inference.model_files import shipped_models
from condseg_monai.networks.encoders.weights import IMAGENET_FILES
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.utils.files import file_sha256
from condseg_monai.utils.method_files import METHODS
from condseg_monai.utils.options import OPTIONS

SMALL = ["--encoder", "resnet18", "--encoder_weights", "null", "--image_size", "32", "--batch_size", "2"]
SMALL += ["--epochs", "1", "--num_workers", "0", "--device", "cpu", "--decoder_channels", "8"]


@pytest.fixture(scope="module")
def data(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set under a name that Fire and MONAI would change."""
    return shutil.copytree(tiny_dataset, tmp_path_factory.mktemp("cli") / "set#2")


@pytest.fixture(scope="module")
def trained(data: Path) -> tuple[Path, list[str]]:
    """The folder of a run of both stages, and the lines that the command printed."""
    run = data.parent / "$run,2024_11_28"
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("click.echo", lambda message="", **_: lines.extend(click.unstyle(str(message)).splitlines()))
        assert main(["train", str(data), "--output_dir", str(run), "--stage1_epochs", "2", *SMALL]) == 0
    return run, lines


def test_training_is_of_both_stages_and_says_where_things_are(data, trained):
    run, lines = trained
    assert [line for line in lines if line.startswith("Stage")] == ["Stage 1", "Stage 2"]
    shown = [line for line in lines if line.startswith("  python -m monai.bundle run --config_file ")]
    assert ["train_stage1.json" in line for line in shown] == [True, False] and "train_stage2.json" in shown[1]
    log = (run / "log.txt").read_text()
    assert re.findall(r"epoch (\d/\d): loss .* val_mean_iou .* left", log) == ["1/2", "2/2", "1/1"]
    assert (run / "curves.png").is_file() and (run / "history_stage1.csv").is_file()
    assert (run / "models" / "stage1.pt").is_file() and (run / "models" / "model.json").is_file()
    assert f"  condseg evaluate {shlex.quote(str(run / 'models' / 'model.pt'))} {shlex.quote(str(data))}" in lines
    assert not any("INFO" in line or "summary" in line for line in lines)
    options = json.loads((run / "models" / "run_stage2.json").read_text())["options"]
    assert (options["dataset_dir"], options["output_dir"]) == (str(data), str(run))


def test_model_of_a_run_is_evaluated(data, trained, capsys):
    run, _ = trained
    assert main(["evaluate", str(run), str(data)]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("python -m monai.bundle run --config_file ")
    assert (
        "test: 2 images, scored at their own size" in output.out
        and "mean_dice" in output.out
        and "INFO" not in output.out + output.err
    )
    assert (run / "scores" / "report_test.html").is_file()
    shares = [(np.asarray(Image.open(data / "masks" / f"test_{i}.png")) > 127).mean() for i in range(2)]
    summary = json.loads((run / "scores" / "summary_test.json").read_text())
    assert summary["all_foreground_dice"] == pytest.approx(np.mean([2 * share / (1 + share) for share in shares]))
    assert main(["compare", str(run), str(run)]) == 0  # finds the scores in the run's folder
    assert main(["evaluate", str(run), str(data)]) == 1
    output = capsys.readouterr()
    assert "scores_test.csv is of an earlier report" in output.err and "cases" not in output.out + output.err


@pytest.mark.parametrize(("missed", "is_said"), [(2, True), (1, False)])
def test_evaluation_that_found_no_lesion_says_what_to_do(data, monkeypatch, capsys, missed, is_said):
    summary = {"images": 2, "scores": {}, "missed_images_original": missed}
    monkeypatch.setattr("condseg_monai.cli.evaluate._evaluate", lambda *_: (summary, None))
    assert main(["evaluate", "condseg_polyp", str(data)]) == 0
    assert ("no lesion was found in any image; train longer" in capsys.readouterr().err) == is_said


def test_model_of_a_run_segments_images_and_the_command_shown_does_the_same(data, trained, tmp_path, capsys):
    run, _ = trained
    out = tmp_path / "@out"
    assert main(["predict", str(run), str(data / "test.txt"), str(out), "--save_overlay"]) == 0
    output = capsys.readouterr()
    assert {"test_0.png", "test_1.png"} < {file.name for file in out.iterdir()} and (out / "overlay").is_dir()
    assert "2 cases done" in output.err and "nvImageCodec" not in output.err and "Warning" not in output.err
    command = output.out.splitlines()[0]
    assert f"--output_dir {out}" in command and "--save_overlay True" in command


def test_training_starts_from_a_shipped_model_by_its_name(tmp_path, monkeypatch):
    value, shipped = OptionValue("init_from"), shipped_models()["condseg_polyp"]
    assert value.convert("condseg_polyp", None, None) == str(shipped.absolute())
    assert value.convert("null", None, None) is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "condseg_polyp").mkdir()  # what is there goes first
    assert value.convert("condseg_polyp", None, None) == str(tmp_path / "condseg_polyp")


@pytest.mark.slow
def test_source_is_one_image_or_a_folder_with_sub_folders(data, trained, tmp_path):
    run, _ = trained
    for name in ("a/x.png", "b/x.png", "x.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / "images" / "test_0.png", tmp_path / "in" / name)
    assert main(["predict", str(run), str(tmp_path / "in"), str(tmp_path / "all")]) == 0
    assert main(["predict", str(run), str(tmp_path / "in" / "x.png"), str(tmp_path / "one")]) == 0
    masks = {str(file.relative_to(tmp_path / "all")): file.read_bytes() for file in (tmp_path / "all").rglob("*.png")}
    assert masks == dict.fromkeys(("a/x.png", "b/x.png", "x.png"), (tmp_path / "one" / "x.png").read_bytes())


@pytest.mark.slow
def test_options_that_take_trained_weights_name_each_other(data, trained, tmp_path, capsys):
    model = str(trained[0] / "models" / "model.pt")
    words = ["train", str(data), "--output_dir", str(tmp_path / "run"), *SMALL, "--checkpointing", "none"]
    assert main([*words, "--stage1_checkpoint", model]) == 1
    assert f"--init_from {model} starts from all its weights" in capsys.readouterr().err.splitlines()[-1]
    assert main([*words, "--init_from", str(trained[0])]) == 0
    assert "The network starts from" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.slow
def test_command_shown_is_runnable(data, trained, tmp_path, capsys, monkeypatch):
    run, _ = trained
    assert main(["predict", str(run), str(data / "test.txt"), str(tmp_path / "a,b#c")]) == 0
    words = shlex.split(capsys.readouterr().out.splitlines()[0])
    before = {file.name: file.read_bytes() for file in (tmp_path / "a,b#c").glob("*.png")}
    (tmp_path / "a,b#c").rename(tmp_path / "first")
    assert words[1:3] == ["-m", "monai.bundle"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["", *words[3:]])
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    assert {file.name: file.read_bytes() for file in (tmp_path / "a,b#c").glob("*.png")} == before


def test_model_card_is_printed(trained, capsys):
    assert main(["info", str(trained[0])]) == 0
    said = capsys.readouterr().out
    assert "encoder               resnet18" in said and "image size            32" in said
    assert main(["info", str(trained[0] / "models" / "model.pt"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["network"]["decoder_channels"] == 8


def test_option_that_contradicts_the_model_card_is_the_last_line(data, trained, tmp_path, capsys):
    assert main(["predict", str(trained[0]), str(data / "images"), str(tmp_path), "--image_size", "64"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: image_size is 64, but the model has image_size 32, as ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "DATA", "--method", "unet", "--dispersive_kind", "hinge"], "--method unet has no such option"),
        (["train", "DATA", "--method", "unet", "--encoder", "resnet18"], "--method unet has no such option"),
        (
            ["train", "DATA", "--method", "flexible_unet", "--cdfa", "paper"],
            "--method flexible_unet has no such option",
        ),
        (["train", "DATA", "--task", "ct", "--fold", "0"], "a training on CT has no such option"),
        (
            ["train", "DATA", "--preset", "released", "--lambda_regions", "0"],
            "--lambda_regions: --method condseg by --preset released has no such option",
        ),
        (["train", "DATA", "--method", "unet", "--preset", "released"], "--preset: released is of binary masks and"),
        (["train", "DATA", "--epochs", "many"], "epochs must be an integer from 1, got 'many'"),
        (
            ["train", "DATA", "--image_size", "[64,96]"],
            "image_size must be an integer from 16 to 8192, or null, got [64, 96]",
        ),
        (["train", "DATA", "--device", "meta"], "device must be cpu, cuda, a GPU by number such as cuda:1, mps"),
        (["train", "DATA", "--learning_rate", "nan"], "learning_rate must be a number from 0, got 'nan'"),
        (["train", "DATA", "--resume=maybe"], "resume must be true or false, got 'maybe'"),
        (["train", "DATA", "--lr", "0.1"], "No such option '--lr'. condseg train --help lists all."),
        (["train", "DATA", "--learning_rat", "1"], "No such option '--learning_rat'. Did you mean '--learning_rate'?"),
        (["train", "DATA", "--checkpoint", "x.pt"], "No such option '--checkpoint'"),
        (["predict", "RUN", "DATA", "mask.png"], "mask.png is the name of an image, and OUT is a folder"),
        (["train", "nowhere"], "Directory 'nowhere' does not exist"),
        (["predict", "RUN", "DATA", "OUT", "--keep_largest"], "inference.json, which this model needs, has no such"),
    ],
)
def test_wrong_call_names_the_option(data, trained, tmp_path, arguments, words, capsys):
    places = {"DATA": str(data), "RUN": str(trained[0]), "OUT": str(tmp_path)}
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_run_of_another_training_is_not_replaced(data, trained, capsys):
    assert main(["train", str(data), "--output_dir", str(trained[0]), *SMALL]) == 1
    assert "stage1.pt is of another run: continue that run with --resume" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_option_that_the_network_refuses_is_refused_before_stage_1(data, tmp_path, method, monkeypatch, capsys):
    def train(*_):
        raise RuntimeError("every option is in order")

    monkeypatch.setattr("condseg_monai.cli.train._train", train)
    words = ["train", str(data), "--method", method, "--output_dir", str(tmp_path / "run")]
    words += ["--labeled_fraction", "0.5"] if method in ("dec_seg", "condseg_student") else []
    assert main(words) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: every option is in order"
    shutil.rmtree(tmp_path / "run")
    if method in ("condseg", "med_disseg"):
        assert main([*words, "--decoder_channels", "15"]) == 1
        assert "decoder_channels" in capsys.readouterr().err.splitlines()[-1]
        assert not (tmp_path / "run").exists()


def test_data_is_checked_before_weights_are_looked_for_and_leaves_no_folder(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", str(data), "--output_dir", str(run), "--fold", "5"]) == 1
    assert "fold" in capsys.readouterr().err.splitlines()[-1] and not run.exists()


def test_model_of_another_run_is_refused_before_stage_1(data, tmp_path, capsys):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pt").write_bytes(b"")
    assert main(["train", str(data), "--output_dir", str(tmp_path), *SMALL]) == 1
    assert "model.pt is of another run" in capsys.readouterr().err.splitlines()[-1]
    assert {file.name for file in tmp_path.rglob("*")} == {"models", "model.pt"}


def test_evaluation_of_a_list_that_is_not_there_names_those_that_are(data, trained, capsys):
    assert main(["evaluate", str(trained[0]), str(data), "--split", "tset"]) == 1
    assert "has no tset.txt; the lists in it are test, train, val" in capsys.readouterr().err.splitlines()[-1]


def test_interrupted_training_says_how_to_continue(data, tmp_path, monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("condseg_monai.training.trainer.GuardedTrainer.run", interrupt)
    assert main(["train", str(data), "--output_dir", str(tmp_path), *SMALL]) == 130
    assert "stopped by Ctrl-C: the same command with --resume continues" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_run_is_continued_without_its_options(data, tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    place = ["--output_dir", str(tmp_path / "run")]
    names = ["--class_names", "background,lesion", "--class_values", "0,255", "--preset", "recommended"]
    options = [*SMALL, *names, "--stage1_epochs", "2", "--init_from", "null", "--anti_aliasing"]
    with monkeypatch.context() as patch:  # in stage 1, whose record has no options of stage 2
        patch.setattr("condseg_monai.training.trainer.GuardedTrainer._check_loss", interrupt)
        assert main(["train", str(data), *place, *options, "--cdfa", "released"]) == 130
    shutil.copytree(data, tmp_path / "moved")
    for option, words in (
        (["--image_size", "64"], "--image_size was 32, now is 64"),
        (["--cdfa", "paper"], "--cdfa was released, now is paper"),
        (["--method", "med_disseg"], "--method was condseg, now is med_disseg"),
        (["--lambda_ce", "0.7"], "--lambda_ce was 1.0, now is 0.7"),
    ):
        capsys.readouterr()
        assert main(["train", str(data), *place, "--resume", *option]) == 1
        assert words in capsys.readouterr().err.splitlines()[-1]
    assert main(["train", str(tmp_path / "moved"), *place, "--resume", "--epochs", "2", "--image_size", "32"]) == 0
    records = [json.loads((tmp_path / "run" / "models" / f"run_stage{n}.json").read_text()) for n in (1, 2)]
    assert [record["options"]["epochs"] for record in records] == [2, 2]
    assert all(record["options"]["image_size"] == 32 for record in records)
    assert records[1]["options"]["cdfa"] == "released" and records[1]["options"]["class_values"] == [0, 255]
    assert "--epochs=2" in records[1]["arguments"] and "--anti_aliasing=true" in records[1]["arguments"]


@pytest.mark.slow
def test_stage_2_of_a_replaced_run_is_not_continued(data, trained, tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    run = shutil.copytree(trained[0], tmp_path / "run")
    place = ["train", str(data), "--output_dir", str(run)]
    earlier = file_sha256(run / "models" / "stage1.pt")
    with monkeypatch.context() as patch:  # stage 1 is replaced, stage 2 not yet
        patch.setattr("condseg_monai.cli.train._train", _only_stage_1(train._train, interrupt))
        assert main([*place, *SMALL, "--stage1_epochs", "1", "--seed", "3", "--overwrite"]) == 130
    assert file_sha256(run / "models" / "stage1.pt") != earlier
    assert main([*place, "--resume"]) == 0
    record = json.loads((run / "models" / "run_stage2.json").read_text())
    assert record["starts_from"]["sha256"] == file_sha256(run / "models" / "stage1.pt")
    assert record["options"]["seed"] == 3
    assert "the one that is there is of the run that was replaced" in capsys.readouterr().out
    assert main([*place, "--resume", "--epochs", "2"]) == 0  # longer, of which stage 1 knows nothing
    assert "Stage 1 is done, and stage 2 began from it" in capsys.readouterr().out
    assert json.loads((run / "models" / "run_stage1.json").read_text())["result"]["epochs"] == 1
    assert json.loads((run / "models" / "run_stage2.json").read_text())["result"]["epochs"] == 2
    assert main([*place, "--resume", "--stage1_epochs", "2"]) == 1
    assert "--stage1_epochs was 1, now is 2" in capsys.readouterr().err.splitlines()[-1]
    assert main([*place, "--resume", "--overwrite"]) == 2
    assert "--overwrite: --resume continues the run" in capsys.readouterr().err.splitlines()[-1]


def _only_stage_1(run_stage, stop):
    return lambda files, options: run_stage(files, options) if "train_stage1" in files else stop()


@pytest.mark.parametrize(
    "word", ["--device=$__import__('os').abort()", "--epochs=@x", "--nothing=1", "rm", 3, "--output_dir=/x"]
)
def test_record_is_data_of_which_nothing_is_evaluated(data, tmp_path, word, capsys):
    record = {"started": "2026", "options": {}, "checkpoints": {}, "arguments": [word]}
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "run_stage1.json").write_text(json.dumps(record))
    command = ["train", str(data), "--output_dir", str(tmp_path), "--resume"]
    assert main(command) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {tmp_path / 'models' / 'run_stage1.json'}: ")
    (tmp_path / "models" / "run_stage1.json").write_text("{}")
    assert main(command) == 1
    assert "run_stage1.json is no record of a training; move" in capsys.readouterr().err.splitlines()[-1]


def test_model_and_source_that_are_swapped_are_told_apart(data, trained, tmp_path, capsys):
    for command in (
        ["predict", str(data / "images"), str(trained[0]), str(tmp_path)],
        ["evaluate", str(data), str(trained[0])],
    ):
        assert main(command) == 2
        words = f"MODEL comes first: {trained[0]} is a model, and {command[1]} is none; swap them"
        assert capsys.readouterr().err.splitlines()[-1] == f"Error: {words}"
    assert main(["predict", str(trained[0]), "nowhere", str(tmp_path)]) == 2
    assert "Path 'nowhere' does not exist" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_command_of_a_zip_names_no_folder_that_is_gone(data, trained, tmp_path, capsys):
    shutil.make_archive(str(tmp_path / "model"), "zip", trained[0], "models")
    model = str(tmp_path / "model.zip")
    assert main(["predict", model, str(data / "test.txt"), str(tmp_path / "out")]) == 0
    line, where = capsys.readouterr().out.splitlines()[:2]
    assert line.startswith("python -m monai.bundle run ") and "--checkpoint MODEL_PT" in line
    assert where == f"  where MODEL_PT is models/model.pt of {model}, which python -m monai.bundle needs unpacked"


@pytest.mark.parametrize(("dice", "is_said"), [(0.4, True), (0.41, False)])
def test_model_no_better_than_a_trivial_one_is_pointed_out(data, monkeypatch, capsys, dice, is_said):
    words = "no better than calling every pixel lesion, which has a mean Dice of 0.400, the model 0.400; train longer"
    summary = {"images": 2, "scores": {"mean_dice_original": {"mean": dice, "median": 0.0, "interval_95": None}}}
    summary |= {"all_foreground_dice": 0.4}
    monkeypatch.setattr("condseg_monai.cli.evaluate._evaluate", lambda *_: (summary, None))
    assert main(["evaluate", "condseg_polyp", str(data)]) == 0
    assert (words in capsys.readouterr().err) == is_said
    card = ModelCard("condseg", {}, training={"best": {"value": 0.3}, "last": {"val_mean_dice": dice}})
    cases = [{"label": np.full((1, 2, 2), share)} for share in (0.25, 0.25)]  # Dice 2 * 0.25 / 1.25
    train._warn_of_score(card, SimpleNamespace(parser=SimpleNamespace(get_parsed_content=lambda _: cases)))
    assert (words in capsys.readouterr().err) == is_said


def test_shipped_model_says_what_it_was_made_of_and_may_be_used_for(data, tmp_path, capsys):
    assert main(["info", "condseg_polyp"]) == 0
    said = capsys.readouterr().out
    assert "Kvasir-SEG, images and masks of 256 x 256" in said and "research and education only" in said
    assert main(["predict", "condseg_polyp", str(data / "test.txt"), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count("licence of the model: that of Kvasir-SEG: research and education only") == 1


def test_missing_model_is_an_error_that_says_what_was_looked_for(data, tmp_path, capsys):
    assert main(["predict", str(tmp_path), str(data), str(tmp_path / "out")]) == 1
    assert "is a folder without models/model.pt or model.pt" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "no"), str(data), str(tmp_path / "out")]) == 1
    assert "no does not exist: give a .pt file" in capsys.readouterr().err
    assert main(["predict", "", str(data), str(tmp_path / "out")]) == 1
    assert "model is empty: give a .pt file" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted({*METHODS} - {"condseg"}))
def test_every_method_is_trained_evaluated_and_used(data, tmp_path, method, capsys):
    encoder = ("--encoder", "resnet18", "--encoder_weights", "null")
    without = {"dec_seg": ("--decoder_channels", "8")}
    without |= dict.fromkeys(("unet", "unet_plus_plus", "attention_unet"), encoder)
    small = [word for word in SMALL if word not in without.get(method, ())]
    if method in ("dec_seg", "condseg_student"):
        small += ["--labeled_fraction", "0.5"]
    assert main(["train", str(data), "--output_dir", str(tmp_path / "run"), "--method", method, *small]) == 0
    assert main(["evaluate", str(tmp_path / "run"), str(data)]) == 0
    assert main(["predict", str(tmp_path / "run"), str(data / "images"), str(tmp_path / "out")]) == 0
    assert np.asarray(Image.open(tmp_path / "out" / "test_0.png")).shape == (40, 36)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["released", "recommended"])
def test_every_preset_is_trained_and_evaluated(data, tmp_path, preset):
    run = str(tmp_path / "run")
    assert main(["train", str(data), "--output_dir", run, "--preset", preset, *SMALL]) == 0
    assert main(["evaluate", run, str(data)]) == 0
    assert main(["predict", run, str(data / "images"), str(tmp_path / "out")]) == 0


@pytest.mark.slow
def test_ct_is_recognised_trained_and_segmented(tmp_path, capsys):
    scans = make_synthetic_ct(tmp_path / "scans", 3, (8, 24, 32))
    slices, run, out = (str(tmp_path / name) for name in ("slices", "run", "out"))
    labels = ["--source_labels", "transunet"]
    assert main(["prepare", "synapse", str(scans), slices, *labels, "--hold_out", "val=1"]) == 0
    assert main(["train", slices, "--output_dir", run, *SMALL]) == 0
    assert main(["predict", run, str(scans / "img"), out, "--keep_largest"]) == 0
    assert main(["score-volumes", out, str(scans / "label"), *labels, "--output_dir", str(tmp_path / "scores")]) == 0
    assert "left kidney" in capsys.readouterr().out
    assert main(["evaluate", run, slices]) == 1
    assert "segments CT volumes: use condseg predict, then" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_terminated_training_ends_with_a_sentence_and_resumes(data, tmp_path):
    run = tmp_path / "run"
    words = ["train", str(data), "--output_dir", str(run), "--stage1_checkpoint", "null", *SMALL, "--epochs", "400"]
    program = [sys.executable, "-m", "condseg_monai", *words, "--num_workers", "2"]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr
    while "epoch 2/" not in process.stderr.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGTERM)  # to the loaders' workers too, as schedulers do
    _, error = process.communicate(timeout=100)
    assert process.returncode == 143
    assert re.match(
        r"training was stopped by SIGTERM in epoch \d+ of 400; epoch \d+ is saved, .*--resume", error.splitlines()[-1]
    )
    interrupted = json.loads((run / "models" / "run_stage2.json").read_text())["interrupted"]
    assert interrupted["by"] == "SIGTERM" and interrupted["saved_epoch"] >= 2
    chatter = ("Traceback", "Warning", "INFO", "nvImageCodec", "input summary", "Engine run", "resume:")
    assert not any(words in error for words in chatter)
    assert main([*words[:-1], "3", "--resume"]) == 0


def test_options_are_those_of_the_configs(capsys):
    assert main(["options", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)
    found = {name: option for options in groups.values() for name, option in options.items()}
    assert found.keys() == OPTIONS.keys() and all(option["meaning"] for option in found.values())
    assert {name: option["default"] for name, option in found.items()} == config_defaults()
    assert groups["optimisation"]["epochs"]["values"] == "an integer from 1"
    assert main(["options", "epochs"]) == 0
    assert "epochs: an integer from 1" in capsys.readouterr().out
    assert main(["options", "epoch"]) == 2
    assert "no such option: epoch (did you mean epochs?)" in capsys.readouterr().err


def test_encoders_are_listed_with_sizes_and_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    assert main(["encoders", "--json"]) == 0
    encoders = json.loads(capsys.readouterr().out)
    assert encoders["resnet50"]["channels"] == [64, 256, 512, 1024]
    assert encoders["resnet18"]["parameters"] > 1e6 and encoders["resnet18"]["weights"] == "downloaded at first use"
    file = tmp_path / "checkpoints" / IMAGENET_FILES["resnet18"]
    file.parent.mkdir()
    file.touch()
    assert main(["encoders"]) == 0
    assert f"at hand, {file}" in capsys.readouterr().out


@pytest.mark.slow
def test_folds_are_trained_and_pooled_out_of_fold(data, tmp_path, capsys):
    dataset = tmp_path / "folds"
    for name in ("images", "masks"):
        shutil.copytree(data / name, dataset / name)
    number = len(list((dataset / "images").iterdir()))
    assert main(["split", str(dataset), "--folds", "2", "--test", "0"]) == 0
    assert "condseg train" in capsys.readouterr().out
    for fold in "01":
        arguments = [*SMALL, "--fold", fold, "--stage1_checkpoint", "null", "--output_dir", str(tmp_path / "run")]
        assert main(["train", str(dataset), *arguments]) == 0
    assert f"condseg evaluate {tmp_path / 'run'} {dataset} --folds" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run"), str(dataset)]) == 1
    assert "has folds: give one of them" in capsys.readouterr().err.splitlines()[-1]
    assert main(["evaluate", str(tmp_path / "run"), str(dataset), "--folds", "--num_workers", "0"]) == 0
    assert f"out of fold: {number} images in 2 folds" in capsys.readouterr().out
    table = (tmp_path / "run" / "scores" / "scores_out_of_fold.csv").read_text()
    assert len(table.splitlines()) == number + 1
    damaged = next(iter((dataset / "images").iterdir()))
    damaged.write_bytes(damaged.read_bytes()[:60])  # costs its image, and neither its fold nor the others
    again = [str(dataset), "--num_workers", "0", "--overwrite"]
    assert main(["evaluate", str(tmp_path / "run"), *again, "--folds"]) == 1
    output = capsys.readouterr()
    assert f"out of fold: {number - 1} images in 2 folds" in output.out and damaged.name in output.err
    fold = next(k for k in "01" if damaged.name in (dataset / "folds" / k / "val.txt").read_text())
    one = [str(tmp_path / "run" / f"fold_{fold}"), *again, "--fold", fold, "--split", "val"]
    assert main(["evaluate", *one]) == 1
    output = capsys.readouterr()
    assert "mean_dice" in output.out and damaged.name in output.err
    assert main(["evaluate", str(tmp_path / "run" / "fold_0"), str(dataset), "--folds"]) == 1
    assert "has no fold_0" in capsys.readouterr().err.splitlines()[-1]


def test_resume_alone_where_there_is_no_run_is_refused(tiny_dataset, tmp_path, capsys):
    assert main(["train", str(tiny_dataset), "--resume", "--output_dir", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{tmp_path / 'run' / 'models'} has no run to continue" in said and "--output_dir" in said
    assert not (tmp_path / "run").exists()

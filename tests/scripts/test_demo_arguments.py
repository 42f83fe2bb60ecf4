from __future__ import annotations

import ast
import shlex
from pathlib import Path
from typing import Any

import pytest
from demo_arguments import (
    BUNDLE,
    EVALUATE,
    METHODS,
    PREDICT,
    REPOSITORY,
    SMALL,
    SMALL_CT,
    SMALL_OF,
    STAGE1,
    STAGE2,
    SYNAPSE,
    command_of,
    knobs_for,
    parse_arguments,
    parse_knobs,
    refuse_unknown,
    top_level_values,
)


def test_without_arguments_both_stages_run_on_synthetic_images():
    arguments = parse_arguments([])
    assert arguments.dataset_dir is None
    assert arguments.output_dir == REPOSITORY / "demo_output"
    assert arguments.stage1
    assert arguments.knobs == SMALL


def test_every_default_is_a_knob_of_a_config():
    refuse_unknown(SMALL)
    refuse_unknown(SMALL, "med_disseg")
    for method, knobs in SMALL_OF.items():
        refuse_unknown(knobs, method)
    refuse_unknown(SMALL_CT, task="synapse")


def test_synapse_has_defaults_and_knobs_of_its_own(capsys: pytest.CaptureFixture[str]):
    arguments = parse_arguments(["--task", "synapse", "--empty_share", "0.2"])
    assert arguments.task == "synapse" and arguments.knobs == {**SMALL_CT, "empty_share": 0.2}
    stage1, stage2 = (knobs_for(files, arguments.knobs) for files in (SYNAPSE.stage1, SYNAPSE.stage2))
    assert (stage1["epochs"], stage2["epochs"]) == (SMALL_CT["stage1_epochs"], SMALL_CT["epochs"])
    assert stage1["optimizer_name"] == stage2["optimizer_name"] == "adam"
    assert knobs_for(SYNAPSE.predict, arguments.knobs)["image_size"] == SMALL_CT["image_size"]
    wrong = {
        "empty_share": ["--empty_share", "0.2"],
        "takes no --dataset_dir": ["--task", "synapse", "--dataset_dir", "x"],
        "--task synapse has no --method dec_seg": ["--task", "synapse", "--method", "dec_seg"],
    }
    for message, words in wrong.items():
        with pytest.raises(SystemExit):
            parse_arguments(words)
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "knobs"),
    [
        ([], SMALL),
        (["--task", "synapse"], SMALL_CT),
        (["--method=dec_seg", "--image_size", "64"], {**SMALL, **SMALL_OF["dec_seg"]}),
    ],
)
def test_help_has_the_knobs_of_the_task_and_method(
    words: list[str], knobs: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        parse_arguments([*words, "--help"])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.endswith(", ".join(f"{name} {value}" for name, value in knobs.items()))
    assert "--task" in said and "--method" in said


def test_dec_seg_has_one_stage_and_knobs_of_its_own():
    arguments = parse_arguments(["--method", "dec_seg", "--labeled_fraction", "0.5"])
    assert (arguments.method, arguments.stage1, arguments.knobs["labeled_fraction"]) == ("dec_seg", False, 0.5)
    files = METHODS["dec_seg"]
    assert knobs_for(files.stage2, arguments.knobs)["labeled_fraction"] == 0.5
    assert "labeled_fraction" not in knobs_for(files.evaluate, arguments.knobs)
    assert knobs_for(files.evaluate, arguments.knobs | {"dcf": False})["dcf"] is False
    assert knobs_for(files.predict, arguments.knobs)["encoder"] == "resnet18"


def test_a_method_adds_its_files_and_knobs():
    arguments = parse_arguments(["--method", "med_disseg", "--dispersive_weight", "0.1"])
    assert (arguments.method, arguments.knobs["dispersive_weight"]) == ("med_disseg", 0.1)
    files = METHODS["med_disseg"]
    assert files.evaluate == ("train_stage2", "med_disseg", "evaluate")
    assert knobs_for(files.stage1, arguments.knobs | {"stage1_dispersive_weight": 0.3})["dispersive_weight"] == 0.3
    assert knobs_for(files.stage2, arguments.knobs | {"stage1_dispersive_weight": 0.3})["dispersive_weight"] == 0.1
    assert "dispersive_weight" not in knobs_for(files.evaluate, arguments.knobs)


@pytest.mark.parametrize("method", METHODS)
def test_all_files_of_a_method_are_there(method: str):
    for files in METHODS[method]:
        assert all((BUNDLE / "configs" / f"{file}.json").is_file() for file in files)


def test_folders_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    arguments = parse_arguments(["--dataset_dir", "data", "--output_dir", "out"])
    assert (arguments.dataset_dir, arguments.output_dir) == (tmp_path / "data", tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--epochs", "7"], {"epochs": 7}),
        (["--epochs=7", "--cache=0"], {"epochs": 7, "cache": 0}),
        (["--learning_rate", "1e-3"], {"learning_rate": 0.001}),
        (["--encoder_weights", "None"], {"encoder_weights": None}),
        (["--cdfa", "released"], {"cdfa": "released"}),
        (["--encoder_weights", "no/such/file.pth"], {"encoder_weights": "no/such/file.pth"}),
        (["--seed", "-1"], {"seed": -1}),
    ],
)
def test_values_are_read_as_python_literals_or_strings(words: list[str], expected: dict[str, Any]):
    assert parse_knobs(words) == expected


def test_existing_weight_files_are_named_absolutely(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "weights.pth").touch()
    monkeypatch.chdir(tmp_path)
    assert parse_knobs(["--encoder_weights", "weights.pth"]) == {"encoder_weights": str(tmp_path / "weights.pth")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epoch", "3"], "no such option: epoch (did you mean epochs?);"),
        (["--stage1_epoch", "3"], "no such option: stage1_epoch (did you mean stage1_epochs?);"),
        (["--learning_rat", "1e-3", "--zzz", "1"], "learning_rat (did you mean learning_rate?), zzz;"),
        (["--stage1_decoder_channels", "8"], "no such option: stage1_decoder_channels"),
        (["--ckpt_dir", "x"], "no such option: ckpt_dir"),
        (["--labeled_fraction", "1"], "no such option: labeled_fraction"),
        (["--stage", "1"], "no such option: stage"),
        (["--dispersive_weight", "1"], "no such option: dispersive_weight"),
        (["--epochs"], "--epochs needs a value"),
        (["--epochs", "--seed", "1"], "--epochs needs a value"),
        (["epochs", "3"], "expected --name value, got 'epochs'"),
        (["--no_stage1", "--stage1_checkpoint", "x.pt"], "exclude each other"),
    ],
)
def test_wrong_arguments_end_with_a_message(words: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as error:
        parse_arguments(words)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_knob_with_stage1_in_front_is_for_stage_1_alone():
    knobs = {"epochs": 10, "stage1_epochs": 5, "learning_rate": 0.1}
    assert knobs_for(STAGE1, knobs) == {"epochs": 5, "learning_rate": 0.1}
    assert knobs_for(STAGE2, knobs) == {"epochs": 10, "learning_rate": 0.1}


def test_stage1_checkpoint_is_a_knob_of_stage_2():
    assert knobs_for(STAGE2, {"stage1_checkpoint": "x.pt"}) == {"stage1_checkpoint": "x.pt"}
    assert knobs_for(STAGE1, {"stage1_checkpoint": "x.pt"}) == {}


def test_given_checkpoint_replaces_stage_1():
    arguments = parse_arguments(["--stage1_checkpoint", "x.pt"])
    assert not arguments.stage1
    assert arguments.knobs["stage1_checkpoint"] == "x.pt"


def test_no_stage1_tells_stage_2():
    arguments = parse_arguments(["--no_stage1"])
    assert not arguments.stage1
    assert arguments.knobs["stage1_checkpoint"] is None


def test_scoring_and_prediction_get_the_network_and_its_input_but_nothing_of_training():
    knobs = {**SMALL, "cdfa": "released", "normalization": "released", "mask_threshold": 0, "device": "cpu"}
    network = {"encoder", "decoder_channels", "cdfa", "image_size", "normalization", "device"}
    training = {"epochs", "learning_rate", "encoder_learning_rate", "encoder_weights", "panel_interval"}
    for files in (EVALUATE, PREDICT):
        assert network <= set(knobs_for(files, knobs))
        assert training.isdisjoint(knobs_for(files, knobs))
    assert "mask_threshold" in knobs_for(EVALUATE, knobs)
    assert "save_overlay" in knobs_for(PREDICT, knobs)


@pytest.mark.parametrize(
    "name", sorted(top_level_values(STAGE2) | top_level_values(EVALUATE) | top_level_values(PREDICT))
)
def test_no_knob_is_taken_and_then_used_nowhere(name: str):
    assert any(name in knobs_for(files, {name: 0}) for files in (STAGE2, EVALUATE, PREDICT))


def test_objects_of_the_configs_are_no_knobs():
    values = top_level_values(STAGE2) | top_level_values(PREDICT)
    assert values.isdisjoint({"network", "datalists", "network_def", "imports"})
    assert {"device", "stage1_checkpoint", "encoder_weights"} <= values


def test_command_says_what_the_step_does():
    words = shlex.split(command_of(EVALUATE, {"encoder_weights": None, "ckpt_dir": str(REPOSITORY / "a b"), "seed": 1}))
    assert words[:5] == ["python", "-m", "monai.bundle", "run", "--config_file"]
    assert ast.literal_eval(words[5]) == ["configs/train_stage2.json", "configs/evaluate.json"]
    assert words[6:] == ["--encoder_weights", "$None", "--ckpt_dir", "../a b", "--seed", "1"]
    assert all((BUNDLE / file).is_file() for file in ast.literal_eval(words[5]))

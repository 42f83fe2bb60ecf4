"""Runs of the bundle's configs in this process."""

import ast
import logging
import shlex

import pytest

from condseg_monai.cli.workflows import command_of, config_file, open_run, options_for, without_card_options
from condseg_monai.utils.method_files import CT, METHODS


@pytest.mark.parametrize("files", [*METHODS.values(), CT])
def test_all_files_of_a_method_exist(files):
    for file in (*files.stage1, *files.evaluate, *files.predict):
        assert config_file(file).is_file()


def test_overlay_comes_behind_the_trainings():
    files = METHODS["med_disseg"].with_overlay("x")
    assert files.stage1 == ("train_stage1", "med_disseg", "x") and files.train == ("train_stage2", "med_disseg", "x")
    assert METHODS["unet"].with_overlay("x").stage1 == ()


def test_workflow_gets_the_options_that_its_files_have_and_no_notice_of_logging(monkeypatch, caplog):
    monkeypatch.setattr("monai.bundle.ConfigWorkflow.initialize", lambda self: None)
    workflow = open_run(("inference",), {"batch_size": 32, "dataset_dir": "a#b", "epochs": 3}, "infer")
    assert workflow.parser.get("batch_size") == 32 and "epochs" not in workflow.parser.get()
    workflow.parser.parse()
    assert workflow.parser.get_parsed_content("dataset_dir") == "a#b"
    logging.getLogger("monai.bundle.workflows").warning("another")
    assert [record.message for record in caplog.records if record.name == "monai.bundle.workflows"] == ["another"]


def test_option_with_stage1_in_front_is_for_stage_1_alone():
    options = {"epochs": 10, "stage1_epochs": 5, "learning_rate": 0.1, "stage1_checkpoint": "x.pt"}
    assert options_for(METHODS["condseg"].stage1, options) == {"epochs": 5, "learning_rate": 0.1}
    expected = {"epochs": 10, "learning_rate": 0.1, "stage1_checkpoint": "x.pt"}
    assert options_for(METHODS["condseg"].train, options) == expected


def test_what_the_model_card_says_is_left_out_of_evaluation_and_inference():
    options = {"encoder": "resnet18", "image_size": 32, "batch_size": 2}
    assert without_card_options(METHODS["condseg"].evaluate, options) == {"batch_size": 2}
    assert without_card_options(METHODS["condseg"].predict, options) == {"batch_size": 2}
    assert without_card_options(METHODS["condseg"].train, options) == options


def test_command_is_quoted_for_a_shell_and_for_monai():
    options = {"encoder_weights": None, "ckpt_dir": "/a b", "output_dir": "/c#d", "seed": 1}
    words = shlex.split(command_of(METHODS["condseg"].evaluate, options))
    assert words[:5] == ["python", "-m", "monai.bundle", "run", "--config_file"]
    assert ast.literal_eval(words[5]) == [str(config_file("train_stage2")), str(config_file("evaluate"))]
    expected = ["--encoder_weights", "null", "--ckpt_dir", "/a b", "--output_dir", '$"/c\\x23d"', "--seed", "1"]
    assert words[6:] == expected

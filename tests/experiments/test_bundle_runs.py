"""Runs of the bundle in this process: reading options, and MONAI's messages."""

import logging

import pytest

from experiments.bundle_runs import BUNDLE, METHODS, check_options, open_run, option_names, parse_options


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--epochs=7", "--cache", "0"], {"epochs": 7, "cache": 0}),
        (["--learning_rate", "1e-3", "--seed", "-1"], {"learning_rate": 0.001, "seed": -1}),
        (["--encoder_weights", "None", "--cdfa", "released"], {"encoder_weights": None, "cdfa": "released"}),
        (["--resume", "true"], {"resume": "true"}),
    ],
)
def test_values_are_python_literals_or_text(words, expected):
    assert parse_options(words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs"], "--epochs needs a value"),
        (["--epochs", "--seed", "1"], "--epochs needs a value"),
        (["epochs", "3"], "expected --name value, got 'epochs'"),
    ],
)
def test_words_without_name_or_value_raise(words, message):
    with pytest.raises(ValueError, match=message):
        parse_options(words)


def test_unknown_options_are_refused_with_the_one_that_may_be_meant():
    with pytest.raises(ValueError, match=r"no such option: learning_rat \(did you mean learning_rate\?\), zzz; there"):
        check_options(["epochs", "learning_rat", "zzz"], option_names(METHODS["condseg"].train))


@pytest.mark.parametrize("method", METHODS)
def test_all_files_of_a_method_exist(method):
    files = METHODS[method]
    assert all((BUNDLE / "configs" / f"{f}.json").is_file() for f in (*files.stage1, *files.evaluate, *files.predict))


def test_workflow_gets_the_options_that_its_files_have_and_no_notice_of_logging(monkeypatch, caplog):
    monkeypatch.setattr("monai.bundle.ConfigWorkflow.initialize", lambda self: None)
    workflow = open_run(("inference",), {"batch_size": 32, "image_size": 32, "epochs": 3}, "infer")
    assert workflow.parser.get("batch_size") == 32 and "epochs" not in workflow.parser.get()
    assert workflow.parser.get("image_size") is None  # the model card says it
    logging.getLogger("monai.bundle.workflows").warning("another")
    assert [record.message for record in caplog.records if record.name == "monai.bundle.workflows"] == ["another"]

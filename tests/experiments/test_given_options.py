"""Options of the bundle on the command lines of experiments and the demo."""

import pytest

from condseg_monai.cli.workflows import option_names
from condseg_monai.utils.method_files import METHODS
from experiments.given_options import check_options, parse_options


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--epochs=7", "--cache", "0"], {"epochs": 7, "cache": 0}),
        (["--learning_rate", "1e-3", "--offset", "-1"], {"learning_rate": 0.001, "offset": -1}),
        (["--encoder_weights", "None", "--cdfa", "released"], {"encoder_weights": None, "cdfa": "released"}),
        (["--resume", "true", "--init_from", "null"], {"resume": True, "init_from": None}),
        (
            ["--stage1_anti_aliasing", "true", "--stage1_checkpoint", "x.pt"],
            {"stage1_anti_aliasing": True, "stage1_checkpoint": "x.pt"},
        ),
        (["--transforms#augment#3#prob", "1", "--title", "yes"], {"transforms#augment#3#prob": 1, "title": "yes"}),
    ],
)
def test_values_are_those_of_the_options_else_python_literals_or_text(words, expected):
    assert parse_options(words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs"], "--epochs needs a value"),
        (["--epochs", "--seed", "1"], "--epochs needs a value"),
        (["epochs", "3"], "expected --name value, got 'epochs'"),
        (["--epochs", "many"], "epochs must be an integer from 1, got 'many'"),
    ],
)
def test_words_without_name_or_value_and_values_that_an_option_cannot_have_raise(words, message):
    with pytest.raises(ValueError, match=message):
        parse_options(words)


def test_unknown_options_are_refused_with_the_one_that_may_be_meant():
    with pytest.raises(ValueError, match=r"no such option: learning_rat \(did you mean learning_rate\?\), zzz; there"):
        check_options(["epochs", "learning_rat", "zzz"], option_names(METHODS["condseg"].train))

from pathlib import Path

import pytest
import torch

from condseg_monai.utils.options import OPTIONS, read_options

FLAGS = [name for name, option in OPTIONS.items() if option.kind == "flag"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        *((word, True) for word in (True, 1, "true", "TRUE", "yes", "on", "1", " true ")),
        *((word, False) for word in (False, 0, "false", "False", "no", "off", "0")),
    ],
)
def test_every_flag_reads_the_words_of_a_command_line(word, meant):
    options = read_options(**dict.fromkeys(FLAGS, word))
    assert all(value is meant for value in options.values())


@pytest.mark.parametrize(
    ("name", "value", "values"),
    [
        *(("resume", value, "true or false") for value in ("maybe", "", None, 2, 0.0, [])),
        *(("epochs", value, "an integer from 1") for value in (0, 2.5, "3", True, None)),
        *(("cache", value, "a number from 0 to 1") for value in (-0.1, 1.5, "all", float("nan"))),
        *(("learning_rate", value, "a number from 0") for value in (float("inf"), float("nan"), "nan", -1)),
        ("lr_schedule", "cosin", "one of plateau, cosine, poly"),
        ("labeled_fraction", 2, "a number from 0 to 1, or null"),
        ("split", None, "text"),
        *(("device", value, "cpu, cuda, a GPU by number") for value in ("cud", "meta", "cuda:x", "")),
        ("num_workers", 1_000_000, "an integer from 0 to 256"),
        *(("image_size", value, "an integer from 16 to 8192, or null") for value in (7, 99999999999)),
        *(("threshold", value, "a number from 1e-05 to 0.99999") for value in (0, 1)),
        *((name, "", "a path") for name in ("output_dir", "dataset_dir", "ckpt_dir", "checkpoint")),
        ("class_names", "background,liver", "a list of names"),
        ("pixel_spacing", [1.0, "2"], "a number or a list of numbers"),
        ("window_hu", [], "a number or a list of numbers"),
    ],
)
def test_other_values_are_refused_by_the_name_of_the_option(name, value, values):
    with pytest.raises(ValueError) as error:
        read_options(**{name: value})
    assert str(error.value).startswith(f"{name} must be {values}")
    assert str(error.value).endswith(f"got {value!r}")


@pytest.mark.parametrize("word", [None, "null", "None"])
def test_null_may_be_said_where_it_has_a_meaning(word):
    assert read_options(seed=word, stage1_checkpoint=word) == {"seed": None, "stage1_checkpoint": None}


def test_options_are_what_json_can_hold():
    given = {"device": torch.device("cpu"), "ckpt_dir": Path("a") / "b", "window_hu": (-125, 275), "mine": {"a": 1}}
    expected = {"device": "cpu", "ckpt_dir": str(Path("a") / "b"), "window_hu": [-125, 275], "mine": {"a": 1}}
    assert read_options(**given) == expected

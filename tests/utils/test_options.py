import pytest

from condseg_monai.inference.cases import InferenceCases
from condseg_monai.training.handlers.training_state import TrainingState
from condseg_monai.utils.options import read_flag


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, True) for value in (True, 1, "true", "True", "TRUE", "yes", "on", "1", " true ")),
        *((value, False) for value in (False, 0, "false", "False", "FALSE", "no", "No", "off", "0")),
    ],
)
def test_words_and_bools(value, expected):
    assert read_flag(value, "resume") is expected


@pytest.mark.parametrize("value", ["maybe", "", "none", None, 2, 0.0, []])
def test_anything_else_is_refused_by_name(value):
    with pytest.raises(ValueError, match="resume must be true or false, got"):
        read_flag(value, "resume")


def test_command_line_word_for_no_is_no(tmp_path):
    state = TrainingState(str(tmp_path), "resume.pt", resume="false", overwrite="False")
    assert (state.resume, state.overwrite) == (False, False)


@pytest.mark.parametrize(("given", "meant"), [("false", False), ("False", False), ("true", True), (False, False)])
def test_outputs_are_overwritten_only_if_that_was_said(given, meant, tmp_path):
    assert InferenceCases(tmp_path, tmp_path / "out", overwrite=given).overwrite is meant


def test_overlays_are_asked_for_by_word():
    folders = [folder.name for folder, _ in InferenceCases("images", "out", save_overlay="no").outputs]
    assert folders == ["out"]
    assert [folder.name for folder, _ in InferenceCases("images", "out", save_overlay="yes").outputs][1:] == ["overlay"]


def test_other_words_for_overwrite_raise(tmp_path):
    with pytest.raises(ValueError, match="overwrite must be true or false, got 'maybe'"):
        InferenceCases(str(tmp_path), "val", overwrite="maybe")

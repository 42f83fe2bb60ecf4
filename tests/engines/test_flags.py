import pytest

from condseg_monai.engines import TrainingState
from condseg_monai.engines.flags import read_flag


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), (False, False), ("true", True), ("false", False), ("True", True)]
)
def test_words_and_bools(value, expected):
    assert read_flag(value, "resume") is expected


@pytest.mark.parametrize("value", ["yes", "", None, 1])
def test_anything_else_is_refused_by_name(value):
    with pytest.raises(ValueError, match="resume must be true or false, got"):
        read_flag(value, "resume")


def test_command_line_word_for_no_is_no(tmp_path):
    state = TrainingState(str(tmp_path), "resume.pt", resume="false", overwrite="False")
    assert (state.resume, state.overwrite) == (False, False)

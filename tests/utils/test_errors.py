import pytest

from condseg_monai.utils.errors import error_text, root_cause


def _raised(*errors):
    """The last of the errors, each raised from the one before."""
    cause = None
    for error in errors:
        error.__cause__ = cause
        cause = error
    return cause


def test_root_cause_is_behind_what_monai_wraps_around_it():
    cause = ValueError("bad")
    assert root_cause(_raised(cause, RuntimeError("applying transform"), RuntimeError("Failed to evaluate"))) is cause
    assert root_cause(cause) is cause


def test_error_with_better_words_than_its_cause_is_kept():
    words = OSError("the checkpoint could not be written")
    assert root_cause(_raised(RuntimeError("inline_container.cc"), words, RuntimeError("Failed to evaluate"))) is words


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("epochs is\n  wrong"), "error: epochs is wrong"),
        (FileNotFoundError(2, "No such file or directory", "a.png"), "error: a.png: No such file or directory"),
        (OSError("the disk is full"), "error: the disk is full"),
        (KeyError("must_match"), "error: KeyError: 'must_match'"),
        (AssertionError(), "error: AssertionError"),
        (RuntimeError("out of memory"), "error: out of memory"),
        (ValueError("the set has 1 problem(s):\n  - a.png is bad"), "error: the set has 1 problem(s): a.png is bad"),
        (ValueError("2 problem(s):\n  - a.png\n  - b.png\nfix"), "  - a.png\n  - b.png\nerror: 2 problem(s): fix"),
        (ValueError("2 problem(s):\n  - a.png\n  - b.png"), "  - a.png\n  - b.png\nerror: 2 problem(s)"),
    ],
)
def test_error_ends_with_one_line_that_says_the_cause(error, line):
    assert error_text(error) == line


def test_error_of_a_loaders_worker_is_its_root_cause():
    """PyTorch raises it again here, with the traceback as its words."""
    words = (
        "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "x.py", line 3, in load\n    raise ValueError(f"{a}: bad")\nValueError: a.png\n  is bad\n\n'
        "The above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\nRuntimeError: applying transform <x>\n"
    )
    assert error_text(RuntimeError(words)) == "error: ValueError: a.png is bad"

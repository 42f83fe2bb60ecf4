"""Errors in words: the cause behind MONAI's wrapping, in the last line."""

from __future__ import annotations

import os
import re

__all__ = ["error_text", "root_cause"]

_CASE = "  - "
_IN_WORKER, _CAUSED = "Original Traceback", "\nThe above exception was the direct cause"
_WRAPPERS = ("Failed to evaluate", "Failed to instantiate component", "applying transform")


def root_cause(error: BaseException) -> BaseException:
    """Return the error behind those that MONAI wraps around what a config's component or a transform raises.

    Args:
        error: what a workflow raised.
    """
    while error.__cause__ is not None and str(error).startswith(_WRAPPERS):
        error = error.__cause__
    return error


def error_text(error: BaseException) -> str:
    """Say what went wrong: in one line, or the cases that an error lists, then one line.

    Args:
        error: what a workflow or a function of this package raised.

    Returns:
        The last line is ``error:`` and the root cause. Python's own errors that are not about files and values have
        their type in front.

    Example:
        >>> error_text(ValueError("epochs must be an integer from 1, got 0"))
        'error: epochs must be an integer from 1, got 0'
    """
    lines = _words(root_cause(error)).splitlines()
    cases = [line for line in lines if line.startswith(" ")]  # a list of them is indented
    if not any(line.startswith(_CASE) for line in cases[1:]):
        cases, lines = [], [line.removeprefix(_CASE) for line in lines]
    words = " ".join(" ".join(line for line in lines if line not in cases).split())
    return "\n".join([*cases, f"error: {words.removesuffix(':')}"])


def _words(cause: BaseException) -> str:
    if isinstance(cause, OSError) and cause.strerror is not None:
        files = [os.fsdecode(file) for file in (cause.filename, cause.filename2) if file is not None]
        return f"{' -> '.join(files)}: {cause.strerror}" if files else cause.strerror
    text = str(cause)
    in_worker = text.partition(_IN_WORKER)[2].partition(_CAUSED)[0]
    if raised := re.findall(r"^[\w.]+: .*(?:\n(?!\n).*)*", in_worker, flags=re.MULTILINE):
        return " ".join(raised[-1].split())
    if type(cause).__module__ == "builtins" and not isinstance(cause, (OSError, ValueError, RuntimeError, ImportError)):
        return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
    return text or type(cause).__name__

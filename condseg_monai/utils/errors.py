"""Errors in words: the cause behind MONAI's wrapping, in one line."""

from __future__ import annotations

import os
import re

__all__ = ["error_line", "root_cause"]

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


def error_line(error: BaseException) -> str:
    """Say in one line what went wrong.

    Args:
        error: what a workflow or a function of this package raised.

    Returns:
        ``error:`` and the root cause. Errors that are not about files and values have their type in front.

    Example:
        >>> error_line(ValueError("epochs must be an integer from 1, got 0"))
        'error: epochs must be an integer from 1, got 0'
    """
    cause = root_cause(error)
    text = str(cause)
    if raised := re.findall(
        r"^[\w.]+: .*(?:\n(?!\n).*)*", text.partition(_IN_WORKER)[2].partition(_CAUSED)[0], re.MULTILINE
    ):
        return f"error: {' '.join(raised[-1].split())}"
    if isinstance(cause, OSError) and cause.filename is not None and cause.strerror is not None:
        files = [os.fsdecode(file) for file in (cause.filename, cause.filename2) if file is not None]
        text = f"{' -> '.join(files)}: {cause.strerror}"
    elif isinstance(cause, OSError) and cause.strerror is not None:
        text = cause.strerror
    elif not isinstance(cause, (OSError, ValueError)):
        text = f"{type(cause).__name__}: {text}" if text else type(cause).__name__
    return f"error: {' '.join(text.split())}"

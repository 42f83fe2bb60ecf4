"""What every config does before its run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from condseg_monai.utils.command_line import check_command_line, is_bundle_program
from condseg_monai.utils.errors import error_line

__all__ = ["prepare_process", "prepare_run"]


def prepare_process() -> None:
    """Refuse a wrong command line of ``python -m monai.bundle``, whose last line on an error is the cause from now on.

    Another program's command line and errors are left alone.

    Raises:
        ValueError: naming the options that are unknown, or whose value would be changed.
    """
    if is_bundle_program():
        sys.excepthook = _print_cause_last
    check_command_line()


def prepare_run(options: Mapping[str, Any]) -> None:
    """Seed all random numbers if the options have a seed.

    Args:
        options: what :func:`~condseg_monai.read_options` returned.
    """
    from monai.utils import set_determinism  # takes seconds, and the command line does without

    if "seed" in options:
        set_determinism(seed=options["seed"])


def _print_cause_last(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, traceback)
    if isinstance(error, Exception):
        print(error_line(error), file=sys.stderr)

"""What every config does before its run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from condseg_monai.utils.command_line import check_command_line, is_bundle_program
from condseg_monai.utils.errors import error_text
from condseg_monai.utils.interruption import signal_of

__all__ = ["prepare_process", "prepare_run"]


def prepare_process() -> None:
    """Refuse a wrong command line of ``python -m monai.bundle``, whose last line on an error is the cause from now on.

    After Ctrl-C, and SIGTERM in a run, a sentence is all.

    Another program's command line and errors are left alone.

    Raises:
        ValueError: naming the options that are unknown, or whose value would be changed.
    """
    if is_bundle_program():
        sys.excepthook = _print_cause_last
    check_command_line()


def prepare_run(options: Mapping[str, Any]) -> None:
    """Refuse a GPU that is not there, and seed all random numbers if the options have a seed.

    Args:
        options: what :func:`~condseg_monai.read_options` returned.

    Raises:
        ValueError: if ``device`` is a GPU and PyTorch has none.
    """
    import torch  # takes seconds, and the command line does without
    from monai.utils import set_determinism

    device = options.get("device", "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device is {device}, but PyTorch {torch.__version__} finds no GPU: leave it out, or give cpu")
    if "seed" in options:
        set_determinism(seed=options["seed"])


def _print_cause_last(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        print(str(error) or f"stopped by {signal_of(error)}", file=sys.stderr)
        return
    sys.__excepthook__(kind, error, traceback)
    if isinstance(error, Exception):
        print(error_text(error), file=sys.stderr)

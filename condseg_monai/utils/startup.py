"""What every config does before its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from condseg_monai.utils.command_line import check_command_line

__all__ = ["prepare_run"]


def prepare_run(options: Mapping[str, Any]) -> None:
    """Refuse unknown options on the command line, and seed all random numbers if the options have a seed.

    Args:
        options: what :func:`~condseg_monai.read_options` returned.

    Raises:
        ValueError: naming the unknown options.
    """
    from monai.utils import set_determinism  # takes seconds, and the command line does without

    check_command_line()
    if "seed" in options:
        set_determinism(seed=options["seed"])

"""Handlers in a distributed run: those that every process needs, and those of the first one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ignite.distributed as idist
from monai.handlers import LrScheduleHandler, ValidationHandler

from condseg_monai.training.handlers.early_stop import EarlyStop
from condseg_monai.training.handlers.epoch_seed import EpochSeed
from condseg_monai.training.handlers.save_and_resume import SaveAndResume

__all__ = ["handlers_of_rank"]

_EVERY_RANK = (ValidationHandler, LrScheduleHandler, EarlyStop, EpochSeed, SaveAndResume)


def handlers_of_rank(handlers: Iterable[Any]) -> list[Any]:
    """Leave to the first process what only logs, draws or shows progress.

    Args:
        handlers: of a trainer or an evaluator.

    Returns:
        On the first process all of them; on others those that all processes need to go the same way.
    """
    return [handler for handler in handlers if idist.get_rank() == 0 or isinstance(handler, _EVERY_RANK)]

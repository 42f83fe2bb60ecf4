"""Handlers with a memory: where a training state finds them, whatever their place in the lists of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ignite.engine import Engine

__all__ = ["Resumable", "add_resumable", "resumables"]

_ATTRIBUTE = "condseg_monai_resumables"


class Resumable(Protocol):
    """What has to be saved for a run to continue, as tensors and plain values."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return all that a later process needs."""

    def load_state_dict(self, state_dict: Any) -> None:
        """Continue from what :meth:`state_dict` returned."""


def add_resumable(engine: Engine, name: str, handler: Resumable) -> None:
    """Have a handler's state saved and restored with the training; called where the handler is attached.

    Args:
        engine: the trainer or the evaluator that the handler is attached to.
        name: what its state is saved under, once an engine.
        handler: the handler.
    """
    resumables(engine)[name] = handler


def resumables(engine: Engine) -> dict[str, Resumable]:
    """Return the handlers that :func:`add_resumable` was given for ``engine``, by name."""
    if not hasattr(engine, _ATTRIBUTE):
        setattr(engine, _ATTRIBUTE, {})
    found: dict[str, Resumable] = getattr(engine, _ATTRIBUTE)
    return found

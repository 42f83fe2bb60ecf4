"""SIGTERM as an exception, so that it ends work as Ctrl-C does, and workers that say nothing of either."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

__all__ = ["Terminated", "leave_signals_to_parent", "sigterm_interrupts"]


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised as Ctrl-C is, so that whatever handles the one handles the other."""


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Raise :class:`Terminated` on SIGTERM within the block, unless the program handles SIGTERM itself.

    Outside the main thread, where Python has no signals, nothing is changed.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def leave_signals_to_parent(_: int) -> None:
    """Say nothing in a loader's worker of Ctrl-C and SIGTERM, which a terminal and a scheduler send to all processes.

    The ``worker_init_fn`` of a loader. Ctrl-C does nothing: the parent ends its workers. SIGTERM, with which it does,
    ends the worker as if it were done: PyTorch raises errors in the parent for any other end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    sys.excepthook = _print_unless_parent_left


def _print_unless_parent_left(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an error, but for that of the thread which hands tensors to a parent that was interrupted meanwhile."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, traceback)


def _raise(*_: Any) -> None:
    raise Terminated

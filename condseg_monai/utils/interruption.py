"""SIGTERM as an exception, so that it ends work as Ctrl-C does, and workers that say nothing of either."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Terminated", "interruption_behind", "leave_signals_to_parent", "signal_of", "sigterm_interrupts"]


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised as Ctrl-C is, so that whatever handles the one handles the other."""


def signal_of(error: KeyboardInterrupt) -> str:
    """What a user calls the signal that an interruption came from."""
    return "SIGTERM" if isinstance(error, Terminated) else "Ctrl-C"


def interruption_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """The interruption that an error is or came of: torch.save complains about its file, loaders about workers."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


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


def _raise(*_: Any) -> None:
    raise Terminated

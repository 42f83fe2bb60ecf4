"""Write files in a thread, while the next batch is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore

__all__ = ["WriteQueue"]


class WriteQueue:
    """A thread that encodes and writes files, for :class:`~condseg_monai.PredictionWriter`.

    Once ``pending`` files wait, whoever brings one more waits too, so that memory does not grow.

    Example:
        >>> writes = WriteQueue()
        >>> writes.put("mask.png", lambda: None)
        >>> writes.finish()
        {}
    """

    def __init__(self, pending: int = 16) -> None:
        if pending < 1:
            raise ValueError(f"pending must be positive, got {pending}")
        self._room = BoundedSemaphore(pending)
        self._thread: ThreadPoolExecutor | None = None
        self._failed: dict[str, str] = {}

    def put(self, path: str | Path, write: Callable[[], None]) -> None:
        """Have ``write`` called soon; ``path`` names the file if it cannot be written."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write")
        self._room.acquire()

        def note(done: Future[None]) -> None:
            self._room.release()
            if (error := done.exception()) is not None:
                self._failed[str(path)] = f"{type(error).__name__}: {error}"

        self._thread.submit(write).add_done_callback(note)

    def finish(self) -> dict[str, str]:
        """Wait until every file is written; return what could not be since the last call, and why."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None
        failed, self._failed = self._failed, {}
        return failed

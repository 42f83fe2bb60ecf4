"""Worker threads that take what waits in a queue as one batch."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

__all__ = ["BatchWorkers"]


class BatchWorkers:
    """Worker threads that take what waits in a queue as one batch. A job that fails ends neither thread nor batch.

    Args:
        work: takes a batch of jobs and returns a result of each; a future raises what is an exception.
        workers: number of threads.
        batch_size: jobs at a time, at most; a batch never waits for more.
    """

    def __init__(self, work: Callable[[list[Any]], Sequence[Any]], workers: int = 1, batch_size: int = 1) -> None:
        self.work, self.batch_size = work, batch_size
        self._queue: queue.SimpleQueue[tuple[Any, Future[Any]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"worker {i}") for i in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Any) -> Future[Any]:
        """Queue a job and return the future of its result; one that is cancelled while it waits is left out."""
        future: Future[Any] = Future()
        self._queue.put((job, future))
        return future

    def close(self) -> None:
        """Do what was submitted before, then end the threads."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            batch = [entry]
            while len(batch) < self.batch_size and (waiting := self._next()) is not None:
                batch.append(waiting)
            self._do([(job, future) for job, future in batch if future.set_running_or_notify_cancel()])

    def _next(self) -> tuple[Any, Future[Any]] | None:
        try:
            entry = self._queue.get_nowait()
        except queue.Empty:
            return None
        if entry is None:  # the end, which this thread takes after its batch
            self._queue.put(None)
        return entry

    def _do(self, batch: Sequence[tuple[Any, Future[Any]]]) -> None:
        if not batch:
            return
        try:
            results: Sequence[Any] = self.work([job for job, _ in batch])
        except Exception as error:
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

"""Train with a config of the bundle, several times, each in a process of its own that is killed at a chosen moment.

``python resume_driver.py JOBS.json``, with a list of jobs: ``files``, ``options``, ``kill`` (or null) and ``losses``,
the file that gets a line an iteration. Importing MONAI costs more than such a run, so it is imported once and forked. A
job's process ends with SIGKILL, which no program can catch.

``kill`` is ``["iteration", N]``, before the Nth iteration's step, or ``["write", NAME, N]``, halfway through the Nth
time that a file of that name is written.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.engines import IterationEvents

from condseg_monai.reports import curves
from condseg_monai.utils import files


def kill_myself(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_while_writing(name: str, count: int) -> None:
    real_write, calls = files.atomic_write, []

    @contextmanager
    def write(path: str | os.PathLike[str]) -> Iterator[Path]:
        with real_write(path) as temporary:
            yield temporary
            if Path(path).name == name:
                calls.append(name)
                if len(calls) == count:
                    os.truncate(temporary, temporary.stat().st_size // 2)
                    kill_myself()

    files.atomic_write = write


def train(job: dict[str, Any]) -> None:
    workflow = ConfigWorkflow(job["files"], logging_file=False, workflow_type="train", **job["options"])
    workflow.initialize()
    kind, *place = job["kill"] or [None]
    if kind == "write":
        kill_while_writing(*place)
    elif kind == "iteration":
        workflow.trainer.add_event_handler(
            IterationEvents.BACKWARD_COMPLETED,
            lambda engine: kill_myself() if engine.state.iteration == place[0] else None,
        )
    with Path(job["losses"]).open("a", buffering=1) as stream:
        workflow.trainer.add_event_handler(
            Events.ITERATION_COMPLETED,
            lambda engine: print(engine.state.iteration, engine.state.output["loss"].item().hex(), file=stream),
        )
        workflow.run()
    workflow.finalize()


def main() -> int:
    for job in json.loads(Path(sys.argv[1]).read_text()):
        process = os.fork()
        if process == 0:
            try:
                train(job)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not (killed if job["kill"] else status == 0):
            return 1
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    curves.draw_curves = lambda folder: None  # as in tests/conftest.py
    sys.exit(main())

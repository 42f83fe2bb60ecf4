"""One run per folder: refuse another run's results, and a second run at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from filelock import FileLock, Timeout

from condseg_monai.networks.model_card import card_path
from condseg_monai.utils.files import remove_unfinished

__all__ = ["RunFolder"]


class RunFolder:
    """Where a training run keeps its files: checkpoints, a state to resume from, a record.

    A folder with such files is refused unless the run resumes them or replaces them. Runs with other files, such as the
    two stages, share a folder.

    Args:
        options: ``ckpt_dir``, the folder, made when training starts; ``resume``, to continue the run whose state is
            there; ``overwrite``, to replace the files that are there.
        name: ``"stage2"`` for ``resume_stage2.state`` and ``run_stage2.json``.
        checkpoints: names of the checkpoints, the best one first: two runs that write it exclude each other.
    """

    def __init__(self, options: Mapping[str, Any], name: str, checkpoints: Sequence[str]) -> None:
        self.path = Path(options["ckpt_dir"])
        self.state = self.path / f"resume_{name}.state"
        self.record = self.path / f"run_{name}.json"
        self.checkpoints = [self.path / checkpoint for checkpoint in checkpoints]
        self.resume: bool = options.get("resume", False)
        self.overwrite: bool = options.get("overwrite", False)
        self._lock = FileLock(self.path / f".{self.checkpoints[0].stem}.lock")
        self._claimed = False

    @property
    def resumes(self) -> bool:
        """Whether there is a state to resume from."""
        return self.resume and self.state.is_file()

    def check(self) -> None:
        """Refuse the folder before any work.

        Raises:
            FileExistsError: if it has another run's results; the message names a file and the remedies.
        """
        if self._claimed or self.overwrite or self.resumes or idist.get_rank() > 0:
            return
        found = [file for file in (*self.checkpoints, self.state) if file.is_file()]
        if found and self.resume:
            raise FileExistsError(
                f"resume: {found[0]} is there, but no {self.state.name} to resume from; replace the files of that run "
                "with --overwrite true or choose another --ckpt_dir"
            )
        if found:
            raise FileExistsError(
                f"{found[0]} is of another run: continue that run with --resume true, replace its files with "
                "--overwrite true, or choose another --ckpt_dir"
            )

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder while a run trains; the system releases it if the process dies.

        Raises:
            FileExistsError: see :meth:`check`.
            RuntimeError: if another run is training in it.
        """
        if idist.get_rank() > 0:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise RuntimeError(
                f"another run is training in {self.path} and writes {self.checkpoints[0].name}: wait for it or choose "
                "another --ckpt_dir"
            ) from error
        try:
            self.check()
            if not self._claimed and not self.resumes:  # so that nobody resumes the run that is replaced
                self.state.unlink(missing_ok=True)
                self.record.unlink(missing_ok=True)
            for file in (self.state, self.record, *self.checkpoints):
                remove_unfinished(file)
            self._claimed = True  # a federated client starts the same trainer every round
            yield
        finally:
            self._lock.release()

    def remove_checkpoints(self) -> None:
        """Remove those of the run that is replaced, when there is something to replace them."""
        for file in self.checkpoints:
            file.unlink(missing_ok=True)
            card_path(file).unlink(missing_ok=True)

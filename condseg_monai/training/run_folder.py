"""One run per folder: refuse another run's results, and a second run at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from filelock import FileLock, Timeout

from condseg_monai.networks.model_card import card_path
from condseg_monai.utils.files import remove_unfinished

__all__ = ["RunFolder"]


class RunFolder:
    """Where a training run keeps its files: checkpoints, a state to resume from, a record.

    A folder with such files is refused unless the run resumes them or replaces them, which it does when its first epoch
    is complete. Runs with other files, such as the two stages, share a folder; runs that write the same checkpoints
    have the same name.

    Args:
        options: ``ckpt_dir``, the folder, made when training starts; ``output_dir``, that of the history, ``ckpt_dir``
            if absent; ``resume``, to continue the run whose state is there; ``overwrite``, to replace the files that
            are there.
        name: ``"stage2"`` for ``resume_stage2.state``, ``run_stage2.json`` and ``history_stage2.csv``.
        checkpoints: names of the checkpoints, the best one first: two runs that write it exclude each other.

    Attributes:
        saved_epoch: the epoch of the saved state; 0 if there is none of this run.
        run_name: names the run where its tracker has those of others too: folder, name and time.
    """

    def __init__(self, options: Mapping[str, Any], name: str, checkpoints: Sequence[str]) -> None:
        self.path = Path(options["ckpt_dir"])
        self.state = self.path / f"resume_{name}.state"
        self.record = self.path / f"run_{name}.json"
        self.history = Path(options.get("output_dir", self.path)) / f"history_{name}.csv"
        self.checkpoints = [self.path / checkpoint for checkpoint in checkpoints]
        self.resume: bool = options.get("resume", False)
        self.overwrite: bool = options.get("overwrite", False)
        self._lock = FileLock(self.path / f".{self.checkpoints[0].stem}.lock")
        self._claimed = False
        self.saved_epoch = 0
        self.run_name = f"{self.path.absolute().parent.name} {name} {datetime.now():%Y-%m-%d %H:%M:%S}"

    @property
    def resumes(self) -> bool:
        """Whether there is a state to resume from."""
        return self.resume and self.state.is_file()

    def earlier_files(self) -> list[Path]:
        """What there is of a run: checkpoints, state and history. A record alone is of a run that saved nothing."""
        return [file for file in (*self.checkpoints, self.state, self.history) if file.is_file()]

    def has_other_stages(self) -> bool:
        """Whether another stage has saved checkpoints in the folder, which only ``resume`` keeps."""
        return any(file not in self.checkpoints for file in self.path.glob("*.pt"))

    def check(self) -> None:
        """Refuse the folder before any work.

        Raises:
            FileExistsError: if it has another run's results; the message names a file and the remedies.
        """
        if self._claimed or self.overwrite or self.resumes or idist.get_rank() > 0:
            return
        found = self.earlier_files()
        if found and self.resume:
            raise FileExistsError(
                f"resume: {found[0]} is there, but no {self.state.name} to resume from; replace the files of that run "
                "with --overwrite true or choose another --ckpt_dir and --output_dir"
            )
        if found:
            raise FileExistsError(
                f"{found[0]} is of another run: continue that run with --resume true, replace its files with "
                "--overwrite true, or choose another --ckpt_dir and --output_dir"
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
            for file in (self.state, self.record, self.history, *self.checkpoints):
                remove_unfinished(file)
            self._claimed = True  # a federated client starts the same trainer every round
            yield
        finally:
            self._lock.release()

    def remove_earlier_files(self) -> None:
        """Remove the run that is replaced, its state first: nobody should resume it any more."""
        for file in (self.state, self.record, self.history, *self.checkpoints, *map(card_path, self.checkpoints)):
            file.unlink(missing_ok=True)

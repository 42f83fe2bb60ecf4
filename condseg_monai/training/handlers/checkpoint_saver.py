"""Checkpoints that are whole, and that replace none of an earlier run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine
from ignite.handlers import DiskSaver
from monai.handlers import CheckpointSaver

from condseg_monai.training.handlers.resumable import add_resumable
from condseg_monai.utils.files import keep_earlier, remove_unfinished, write_checkpoint

__all__ = ["AtomicCheckpointSaver"]


class AtomicCheckpointSaver(CheckpointSaver):
    """MONAI's ``CheckpointSaver``, with atomic writes and a second name for what an earlier run left.

    Each file is written beside its place and then moved there, so a run that is killed while saving leaves the
    checkpoint before. A file that is already there when this saver first writes to its name is kept as
    ``model-1.pt``, ``model-2.pt``, ... and the log says so. A run that fails writes no final checkpoint: the weights of
    half an epoch are no result, and what a :class:`~condseg_monai.TrainingState` saved is where it goes on. When it
    does, the best score so far is still the one to beat.

    Args:
        save_dir: folder of the checkpoints.
        save_dict: what to save, by name; a single entry is saved as its bare state_dict.
        final_filename: name of the last checkpoint, see MONAI.
        key_metric_filename: name of the best checkpoint, see MONAI.
        overwrite: replace the files of an earlier run instead of keeping them.
        **kwargs: as for :class:`monai.handlers.CheckpointSaver`.
    """

    def __init__(
        self,
        save_dir: str,
        save_dict: dict[str, Any],
        *,
        final_filename: str | None = None,
        key_metric_filename: str | None = None,
        overwrite: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            save_dir, save_dict, final_filename=final_filename, key_metric_filename=key_metric_filename, **kwargs
        )
        replace = overwrite
        fixed_names = {
            "_final_checkpoint": final_filename,
            "_key_metric_checkpoint": key_metric_filename,
            "_interval_checkpoint": None,
        }
        for attribute, filename in fixed_names.items():
            checkpoint = getattr(self, attribute)
            if checkpoint is not None:
                checkpoint.save_handler = _KeepingDiskSaver(self.save_dir, filename, replace)
        self._best_name = key_metric_filename
        self._fixed_names = [name for name in fixed_names.values() if name is not None]

    def attach(self, engine: Engine) -> None:
        """Save when ``engine`` says so.

        Args:
            engine: the trainer or the evaluator.
        """
        super().attach(engine)
        add_resumable(engine, "/".join(["checkpoint_saver", *self._fixed_names]), self)

    def exception_raised(self, engine: Engine, e: Exception) -> None:
        """Save nothing, see the class.

        Args:
            engine: the trainer or the evaluator.
            e: what it failed of.
        """
        raise e

    def keep_earlier(self) -> None:
        """Keep what an earlier run left now, not before the first write, so that a resumed run has nothing to keep."""
        for handler in self._save_handlers():
            handler.keep(handler.filename)
            remove_unfinished(handler.dirname / handler.filename)

    def state_dict(self) -> dict[str, Any]:
        """Return the best score and its file, if this saver looks for the best."""
        if self._key_metric_checkpoint is None:
            return {}
        saved = self._key_metric_checkpoint.state_dict()["_saved"]
        return {"_saved": [(score, self._best_name or filename) for score, filename in saved]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the run of :meth:`state_dict`: its score is to beat, its files are replaced and not kept.

        Args:
            state_dict: what :meth:`state_dict` returned.
        """
        if state_dict:
            super().load_state_dict(state_dict)
        for handler in self._save_handlers():
            handler.written.add(handler.filename)
            remove_unfinished(handler.dirname / handler.filename)

    def beat(self, score: float) -> None:
        """Replace the best checkpoint only by one of a higher score; a saver without a fixed name for it does nothing.

        Args:
            score: that of the file which is there.
        """
        if self._key_metric_checkpoint is not None and self._best_name is not None:
            self.load_state_dict({"_saved": [(score, self._best_name)]})

    def _save_handlers(self) -> list[Any]:
        checkpoints = (self._final_checkpoint, self._key_metric_checkpoint)
        handlers = [checkpoint.save_handler for checkpoint in checkpoints if checkpoint is not None]
        return [handler for handler in handlers if getattr(handler, "filename", None) is not None]


class _KeepingDiskSaver(DiskSaver):
    """Write atomically; keep what was there before the first write."""

    def __init__(self, dirname: str, filename: str | None, overwrite: bool) -> None:
        super().__init__(dirname, atomic=True, require_empty=False)
        self.filename = filename
        self.overwrite = overwrite
        self.written: set[str] = set()

    def __call__(self, checkpoint: Mapping, filename: str, metadata: Mapping | None = None) -> None:
        name = self.filename or filename
        self.keep(name)
        super().__call__(checkpoint, name, metadata)

    def keep(self, name: str) -> None:
        if name not in self.written and not self.overwrite and idist.get_rank() == self.save_on_rank:
            for kept in keep_earlier([self.dirname / name]):
                logging.getLogger(__name__).info(f"{self.dirname / name} of an earlier run is kept as {kept}")
        self.written.add(name)

    def _save_func(self, checkpoint: Mapping, path: Path, func: Callable) -> None:
        write_checkpoint(path, checkpoint)

    def remove(self, filename: str) -> None:
        # ignite removes the file it is about to replace; without a fixed name that is another file.
        if self.filename is None:
            super().remove(filename)

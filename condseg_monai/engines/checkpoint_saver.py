"""Checkpoints that are whole, and that replace none of an earlier run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
from ignite.handlers import DiskSaver
from monai.handlers import CheckpointSaver

from condseg_monai.engines.files import keep_earlier

__all__ = ["AtomicCheckpointSaver"]


class AtomicCheckpointSaver(CheckpointSaver):
    """MONAI's ``CheckpointSaver``, with atomic writes and a second name for what an earlier run left.

    Each file is written beside its place and then moved there, so a run that is killed while saving leaves the
    checkpoint before. A file that is already there when this saver first writes to its name is kept as
    ``model-1.pt``, ``model-2.pt``, ... and the log says so.

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
        fixed_names = {
            "_final_checkpoint": final_filename,
            "_key_metric_checkpoint": key_metric_filename,
            "_interval_checkpoint": None,
        }
        for attribute, filename in fixed_names.items():
            checkpoint = getattr(self, attribute)
            if checkpoint is not None:
                checkpoint.save_handler = _KeepingDiskSaver(self.save_dir, filename, overwrite)


class _KeepingDiskSaver(DiskSaver):
    """Write atomically; keep what was there before the first write."""

    def __init__(self, dirname: str, filename: str | None, overwrite: bool) -> None:
        super().__init__(dirname, atomic=True, require_empty=False)
        self.filename = filename
        self.overwrite = overwrite
        self.written: set[str] = set()

    def __call__(self, checkpoint: Mapping, filename: str, metadata: Mapping | None = None) -> None:
        name = self.filename or filename
        if name not in self.written and not self.overwrite and idist.get_rank() == self.save_on_rank:
            for kept in keep_earlier([self.dirname / name]):
                logging.getLogger(__name__).info(f"{self.dirname / name} of an earlier run is kept as {kept}")
        self.written.add(name)
        super().__call__(checkpoint, name, metadata)

    def remove(self, filename: str) -> None:
        # ignite removes the file it is about to replace; without a fixed name that is another file.
        if self.filename is None:
            super().remove(filename)

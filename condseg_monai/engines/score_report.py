"""The report of an evaluation: a table of images and a summary."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.utils import ImageMetaKey, string_list_all_gather
from torch import Tensor

from condseg_monai.engines.files import atomic_write, file_sha256, keep_earlier, write_json
from condseg_monai.metrics import EMPTY_MASK_RULE

__all__ = ["ScoreReport"]


class ScoreReport:
    """Write every image's scores and their summary, for an evaluator's handlers.

    ``scores_{name}.csv`` has a line per image: its file name and one column per metric, under the metric's name in the
    engine. ``summary_{name}.json`` has, per metric, mean and standard deviation over images (divided by n), beside
    ``images`` (n), the checkpoint with its SHA-256, the conditions given as ``context``, and the rules of the scores.
    Both are of one run: files of an earlier one are kept together under numbered names.

    The engine's metrics must keep their details (``save_details`` of MONAI's metric handlers), and its batches the
    images' metadata.

    Args:
        save_dir: folder of the report.
        name: ends the files' names; usually the split.
        checkpoint: path of the weights that were scored.
        context: conditions that the summary repeats: split, normalization, image size and the like.
        overwrite: replace the report of an earlier run instead of keeping it.
    """

    def __init__(
        self,
        save_dir: str,
        name: str,
        checkpoint: str | None = None,
        context: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.table_path = Path(save_dir) / f"scores_{name}.csv"
        self.summary_path = Path(save_dir) / f"summary_{name}.json"
        self.checkpoint = checkpoint
        self.context = dict(context or {})
        self.overwrite = overwrite
        self._files: list[str] = []
        self._written = False

    def attach(self, engine: Engine) -> None:
        """Collect file names while ``engine`` runs and write the report when an epoch is complete.

        Args:
            engine: the evaluator.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self.forget)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def forget(self, engine: Engine) -> None:
        """Start a new list of files.

        Args:
            engine: the evaluator.
        """
        self._files = []

    def collect(self, engine: Engine) -> None:
        """Note the file names of the batch.

        Args:
            engine: the evaluator; its batch is a list of dictionaries whose ``image`` has metadata.

        Raises:
            ValueError: if an image has no metadata.
        """
        batch: Any = engine.state.batch
        for item in batch:
            meta = getattr(item["image"], "meta", None)
            if meta is None:
                raise ValueError("the batch's images have lost their metadata: keep track_meta on in the preprocessing")
            self._files.append(Path(str(meta[ImageMetaKey.FILENAME_OR_OBJ])).name)

    def write(self, engine: Engine) -> None:
        """Write both files.

        Args:
            engine: the evaluator, its metrics computed.

        Raises:
            RuntimeError: if the engine has no metric details, or not one per image.
        """
        files = string_list_all_gather(self._files) if idist.get_world_size() > 1 else self._files
        if idist.get_rank() > 0:
            return
        details = getattr(engine.state, "metric_details", {})
        if not details:
            raise RuntimeError("the engine has no metric details to report: set save_details on its metrics")
        scores = {name: torch.as_tensor(value).flatten().double().cpu() for name, value in details.items()}
        for name, values in scores.items():
            if len(values) != len(files):
                raise RuntimeError(f"metric {name} has {len(values)} values for {len(files)} images")
        if not self._written and not self.overwrite:
            kept = keep_earlier([self.table_path, self.summary_path])
            if kept:
                logging.getLogger(__name__).info(f"The earlier report is kept as {', '.join(map(str, kept))}")
        self._write_table(files, scores)
        write_json(self.summary_path, self._summary(files, scores))
        self._written = True

    def _write_table(self, files: Sequence[str], scores: Mapping[str, Tensor]) -> None:
        with atomic_write(self.table_path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["file", *scores])
            for index, file in enumerate(files):
                writer.writerow([file, *(f"{values[index].item():.6f}" for values in scores.values())])

    def _summary(self, files: Sequence[str], scores: Mapping[str, Tensor]) -> dict[str, Any]:
        checkpoint = None if self.checkpoint is None else Path(self.checkpoint)
        return {
            "images": len(files),
            "scores": {
                name: {"mean": values.mean().item(), "std": values.std(correction=0).item()}
                for name, values in scores.items()
            },
            **self.context,
            "checkpoint": None if checkpoint is None else str(checkpoint),
            "checkpoint_sha256": file_sha256(checkpoint) if checkpoint is not None and checkpoint.is_file() else None,
            "rules": {
                "averaging": "each image is scored by itself, then the scores are averaged over images",
                "std": "over images, divided by n",
                "empty_masks": EMPTY_MASK_RULE,
            },
        }

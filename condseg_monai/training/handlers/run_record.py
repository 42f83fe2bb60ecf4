"""A record beside the checkpoints: what was run, on what, with which data, and how it ended."""

from __future__ import annotations

import inspect
import json
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser

from condseg_monai.data.lists.datalist import datalist_hash
from condseg_monai.networks.state_dicts import optional_path
from condseg_monai.training.handlers.checkpoint_saver import AtomicCheckpointSaver
from condseg_monai.training.handlers.resumable import add_resumable, resumables
from condseg_monai.utils.environment import describe_environment
from condseg_monai.utils.files import file_sha256, keep_earlier, write_json

__all__ = ["RunRecord", "current_parser", "knob_values"]

_Scalar = (str, int, float, bool, type(None))


def current_parser() -> ConfigParser | None:
    """Return the parser of the config whose expression calls this, or ``None`` outside of one.

    MONAI gives an expression its references but not its config, so the parser is found among the callers.
    """
    frame = inspect.currentframe()
    while frame is not None:
        candidate = frame.f_locals.get("self")
        if isinstance(candidate, ConfigParser):
            return candidate
        frame = frame.f_back
    return None


def knob_values(parser: ConfigParser) -> dict[str, Any]:
    """Return the plain values at the top of a config, expressions replaced by what they gave.

    Nothing is evaluated for it: an expression that the run did not need stays as it is written.

    Args:
        parser: the parser of a config that has been initialised.

    Returns:
        Name to value; values that are neither scalar, path nor device (a network, say) are left out.
    """
    resolved = parser.ref_resolver.resolved_content
    knobs: dict[str, Any] = {}
    for name, raw in parser.get().items():
        if not isinstance(raw, (*_Scalar, Path, torch.device)):
            continue
        value = resolved.get(name, raw)
        if isinstance(value, (Path, torch.device)):
            knobs[name] = str(value)
        elif isinstance(value, _Scalar):
            knobs[name] = value
    return knobs


class RunRecord:
    """Write down a training run, for a trainer's handlers.

    When training starts, ``{save_dir}/{filename}`` gets the knobs, the whole merged config with its overrides, the
    environment, and count and SHA-256 of each split; ``best``, the best metric so far, its epoch, and the checkpoint it
    is the score of, follows the validations. When it ends, by the last epoch or an early stop, ``result`` is added:
    epochs, seconds, the best metric and its epoch, and the SHA-256 of each checkpoint, by which a checkpoint that has
    been renamed since finds its record. A record without ``result`` is of a run that was cut short; one that was
    stopped from the keyboard says when, under ``interrupted``.

    The record of an earlier run is kept under a numbered name. A run that is resumed goes on in its own record: each
    time is added to ``resumed``, with the epoch it went on from and the environment. If its best checkpoint is of an
    epoch after that one, its score is still the one to beat: an epoch that is repeated on a GPU may end a little lower.
    Put this handler behind those that save checkpoints and behind the :class:`~condseg_monai.TrainingState`.

    Args:
        save_dir: folder of the record and the checkpoints.
        filename: name of the record.
        splits: for each split its datalist, by name: dictionaries with ``image`` and ``label`` paths.
        parser: the config's parser, ``"$condseg_monai.current_parser()"``; ``None`` leaves the config out.
        starts_from: the checkpoint that training starts from; its path and SHA-256 are recorded.
        evaluator: the engine whose best metric is recorded; ``None`` records none.
        checkpoints: names of the files whose hashes end the record, the best one first; those that do not exist are
            left out.
        overwrite: replace the record of an earlier run instead of keeping it.
    """

    def __init__(
        self,
        save_dir: str,
        filename: str,
        splits: Mapping[str, Sequence[Mapping[str, Any]]],
        parser: ConfigParser | None = None,
        starts_from: str | None = None,
        evaluator: Engine | None = None,
        checkpoints: Sequence[str] = (),
        overwrite: bool = False,
    ) -> None:
        self.path = Path(save_dir) / filename
        self.splits = splits
        self.parser = parser
        self.starts_from = optional_path(starts_from)
        self.evaluator = evaluator
        self.checkpoints = checkpoints
        self.overwrite = overwrite
        self._record: dict[str, Any] = {}
        self._start = 0.0
        self._seconds_before = 0.0

    def attach(self, engine: Engine) -> None:
        """Write when ``engine`` starts, after its validations, and when it ends.

        Args:
            engine: the trainer; a :class:`~condseg_monai.GuardedTrainer` tells when it is stopped from the keyboard.
        """
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.INTERRUPT, self.interrupted)
        engine.add_event_handler(Events.COMPLETED, self.completed)
        if self.evaluator is not None:
            self.evaluator.add_event_handler(Events.COMPLETED, self.validated)
        add_resumable(engine, "run_record", self)

    def state_dict(self) -> dict[str, float]:
        """Return for how many seconds the run has run."""
        return {"seconds": self._seconds()}

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        """Add the seconds of the run that is resumed.

        Args:
            state_dict: what :meth:`state_dict` returned.
        """
        self._seconds_before = state_dict["seconds"]

    def started(self, engine: Engine) -> None:
        """Write all that is known beforehand.

        Args:
            engine: the trainer.
        """
        if idist.get_rank() > 0 or engine.should_terminate:
            return
        self._start = time.monotonic()
        if getattr(engine.state, "resumed", False) and not self._record and self._resumed(engine):
            return
        if not self._record and not self.overwrite:
            for kept in keep_earlier([self.path]):
                logging.getLogger(__name__).info(f"{self.path} of an earlier run is kept as {kept}")
        config = {} if self.parser is None else self.parser.get()
        self._record = {
            "started": _now(),
            "resumed": [],
            "knobs": {} if self.parser is None else knob_values(self.parser),
            "splits": {name: self._describe_split(datalist) for name, datalist in self.splits.items()},
            "starts_from": self._describe_start(),
            "environment": describe_environment(),
            "bundle_version": config.get("_meta_", {}).get("version"),
            "config": {key: value for key, value in config.items() if key != "_meta_"},
        }
        write_json(self.path, self._record)

    def validated(self, evaluator: Engine) -> None:
        """Add which score the best checkpoint has, if it is a new one.

        Args:
            evaluator: the evaluator, its checkpoint saved.
        """
        best, known = self._best(), self._record.get("best", {})
        # An epoch that a resumed run repeats may score otherwise than before: its number alone says nothing.
        if not self._record or best is None or all(known.get(key) == best[key] for key in ("epoch", "value")):
            return
        for name in self.checkpoints[:1]:
            file = self.path.with_name(name)
            best.update(checkpoint=name, sha256=file_sha256(file) if file.is_file() else None)
        self._record["best"] = best
        write_json(self.path, self._record)

    def interrupted(self, engine: Engine) -> None:
        """Add that the run was stopped from the keyboard, and where.

        Args:
            engine: the trainer.
        """
        if self._record:
            where = {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
            stopped = {"at": _now(), "seconds": round(self._seconds(), 1), **where}
            write_json(self.path, {**self._record, "interrupted": stopped})

    def completed(self, engine: Engine) -> None:
        """Add how the run ended.

        Args:
            engine: the trainer.
        """
        if idist.get_rank() > 0:
            return
        result: dict[str, Any] = {
            "ended": _now(),
            "seconds": round(self._seconds(), 1),
            "epochs": engine.state.epoch,
            "max_epochs": engine.state.max_epochs,
            "iterations": engine.state.iteration,
            "skipped_batches": getattr(engine.state, "skipped_batches", 0),
        }
        if self.evaluator is not None:
            result["best"] = self._best()
            result["last"] = dict(self.evaluator.state.metrics)
        files = [self.path.with_name(name) for name in self.checkpoints]
        result["checkpoints"] = {file.name: file_sha256(file) for file in files if file.is_file()}
        write_json(self.path, {**self._record, "result": result})

    def _resumed(self, engine: Engine) -> bool:
        """Go on in the record of the run that is resumed; False if it cannot be read."""
        try:
            self._record = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            logging.getLogger(__name__).warning(f"The record of the run that is resumed cannot be read: {error}")
            return False
        for ended in ("result", "interrupted"):
            self._record.pop(ended, None)
        self._keep_best()
        resumed = {"at": _now(), "after_epoch": engine.state.epoch, "environment": describe_environment()}
        self._record["resumed"] = [*self._record.get("resumed", []), resumed]
        write_json(self.path, self._record)
        return True

    def _best(self) -> dict[str, Any] | None:
        state: Any = None if self.evaluator is None else self.evaluator.state
        if getattr(state, "best_metric_epoch", None) is None:
            return None
        return {"metric": state.key_metric_name, "value": state.best_metric, "epoch": state.best_metric_epoch}

    def _keep_best(self) -> None:
        """Have the checkpoint's score to beat, if it is of an epoch after the state that training goes on from."""
        best, here = self._record.get("best"), self._best()
        if self.evaluator is None or best is None or (here is not None and best["value"] <= here["value"]):
            return
        file = self.path.with_name(best.get("checkpoint", ""))
        if not file.is_file() or file_sha256(file) != best["sha256"]:
            return
        state: Any = self.evaluator.state
        state.best_metric, state.best_metric_epoch = best["value"], best["epoch"]
        for handler in resumables(self.evaluator).values():
            if isinstance(handler, AtomicCheckpointSaver):
                handler.beat(best["value"])

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._start

    def _describe_start(self) -> dict[str, str | None] | None:
        path = self.starts_from
        if path is None:
            return None
        return {"checkpoint": str(path), "sha256": file_sha256(path) if path.is_file() else None}

    def _describe_split(self, datalist: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {"count": len(datalist), "sha256": datalist_hash(datalist)}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")

"""Save a training run's weights and record, and resume it from the last complete epoch."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import monai
import torch
from ignite.engine import Engine, Events
from monai.networks import get_state_dict
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from condseg_monai.data.lists.datalist import content_hash, datalist_hash
from condseg_monai.metrics.bootstrap import bootstrap_interval
from condseg_monai.metrics.score_metric import ScoreMetric
from condseg_monai.networks.methods import describes
from condseg_monai.networks.model_card import ModelCard, card_path
from condseg_monai.networks.state_dicts import load_failure, optional_path
from condseg_monai.training.handlers.average_weights import inner_network
from condseg_monai.training.handlers.training_history import TrainingHistory
from condseg_monai.training.run_folder import RunFolder
from condseg_monai.training.tracking import EventWriter
from condseg_monai.training.trainer import RunEvents
from condseg_monai.utils.environment import describe_environment
from condseg_monai.utils.files import file_sha256, read_json_object, write_checkpoint, write_json
from condseg_monai.utils.options import MAY_CHANGE
from condseg_monai.version import __version__

__all__ = ["SaveAndResume"]

_VERSION = 3


class SaveAndResume:
    """Save a training run's weights and record, and resume it from the last complete epoch.

    After an epoch's validation, wherever this handler stands in the trainer's list:

    1. the state is written, every ``save_interval`` epochs, with every new best and at the end of the run;
    2. the ``best`` checkpoints are written if the evaluator's best metric is of this epoch;
    3. at the end of the run the ``final`` checkpoints are written, and the result is added to the record.

    Each file is replaced atomically. A run that was killed at any moment repeats the epochs since its state and writes
    what is missing; with :class:`~condseg_monai.EpochSeed` it ends as one that was never interrupted, bit for bit on a
    CPU. A run that has ended stays as it is, unless the trainer's ``max_epochs`` has grown.

    Where the run replaces another one, that one's files stay until the first epoch is complete.

    The record is a JSON file: options, arguments, environment, of each split the count, the SHA-256 of its names and
    that of its files, the best metric, the SHA-256 of every checkpoint this run wrote, each time it was resumed, and
    how it ended: ``result``, or ``interrupted``. Checkpoints of modules in ``best`` get a
    :class:`~condseg_monai.ModelCard` beside them.

    In a distributed run all processes need this handler: each loads, the first one writes.

    Args:
        folder: where the files are; the trainer claims it.
        network: what is trained.
        evaluator: the engine that validates.
        best: modules by file name; each file is a bare state_dict.
        final: likewise; None as a module writes nothing.
        card: the model's settings, what its card says beside facts about the run; None writes no card.
        scores: the metric of the evaluator's best score, for the interval of its mean.
        average: the moving average of the network's weights, part of the state.
        lr_scheduler: the scheduler of the trainer's optimizer.
        options: recorded; a resumed run must have them as they were, but for
            :data:`~condseg_monai.utils.options.MAY_CHANGE`.
        arguments: recorded too: the options of ``condseg train``, which its ``--resume`` reads.
        splits: datalists by name, recorded; a resumed run must have the same cases in the same order, and equal files.
        starts_from: the checkpoint that training starts from; its path and SHA-256 are recorded.
        summary_writer: TensorBoard's writer, which gets the run's folder; what a killed run wrote after the saved state
            is taken back.
        history: attached too, and written before each state.
        save_interval: epochs between two states; 0 writes none.

    Raises:
        ValueError: if ``save_interval`` is negative, or a file name is none of the folder's checkpoints.
    """

    def __init__(
        self,
        folder: RunFolder,
        network: nn.Module,
        evaluator: Engine,
        best: Mapping[str, nn.Module],
        final: Mapping[str, nn.Module | None],
        card: ModelCard | None = None,
        scores: ScoreMetric | None = None,
        average: AveragedModel | None = None,
        lr_scheduler: Any = None,
        options: Mapping[str, Any] | None = None,
        arguments: Sequence[str] = (),
        splits: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        starts_from: str | None = None,
        summary_writer: EventWriter | None = None,
        history: TrainingHistory | None = None,
        save_interval: int = 1,
    ) -> None:
        if save_interval < 0:
            raise ValueError(f"save_interval must be >= 0 epochs, got {save_interval}")
        unknown = {*best, *final} - {path.name for path in folder.checkpoints}
        if unknown:
            raise ValueError(f"{sorted(unknown)} must be among the folder's checkpoints")
        self.folder = folder
        self.network = network
        self.evaluator = evaluator
        self.best = best
        self.final = final
        self.card = card
        self.scores = scores
        self.average = average
        self.lr_scheduler = lr_scheduler
        self.options = dict(options or {})
        self.arguments = list(arguments)
        interval, epochs = self.options.get("val_interval", 1), self.options.get("epochs", math.inf)
        if interval > epochs:
            raise ValueError(
                f"val_interval ({interval}) is more than epochs ({epochs}): the run would end without a validation and "
                "a best checkpoint"
            )
        self.splits = dict(splits or {})
        self.starts_from = optional_path(starts_from)
        self.summary_writer = summary_writer
        self.history = history
        self.save_interval = save_interval
        self._record: dict[str, Any] = {}
        self._complete = -1  # the last epoch that was completed, with its validation
        self._best_interval: list[float] | None = None
        self._seconds = 0.0
        self._start = 0.0
        self._started = False
        self._is_described: bool | None = None  # by the card; None until there are weights to look at
        self._replaces = False  # another run, whose files stay until the first epoch is complete

    def attach(self, engine: Engine) -> None:
        """Begin or resume when ``engine``, a trainer, starts."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.COMPLETED, self.completed)
        engine.add_event_handler(RunEvents.INTERRUPTED, self.interrupted)
        if self.history is not None and idist.get_rank() == 0:
            self.history.attach(engine)

    def started(self, engine: Any) -> None:
        """Load the state, or begin a record.

        Raises:
            ValueError: if the state cannot be read or is of a run with other options or cases; the message names them.
        """
        self._start = time.monotonic()
        first, self._started = not self._started, True
        if first:
            # now, so that it comes after the validation wherever the handlers stand
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        if first and self.folder.resumes:
            self._resume(engine)
            return
        self._replaces = first and bool(self.folder.earlier_files())
        # Federated clients and ConfigWorkflow start the same trainer again, the latter from its first epoch.
        state: Any = self.evaluator.state
        if engine.state.epoch == 0:
            state.best_metric, state.best_metric_epoch = -1, -1
        if first and self.folder.resume:
            logging.getLogger(__name__).warning(
                f"resume: there is no {self.folder.state}, so training starts from the beginning"
            )
        self._begin_record()

    def epoch_completed(self, engine: Any) -> None:
        """Save the state, then the best checkpoint: one never is of an epoch that a resumed run repeats."""
        epoch = self._complete = engine.state.epoch
        evaluated: Any = self.evaluator.state
        is_best = evaluated.best_metric_epoch == epoch
        ended = engine.should_terminate or epoch == engine.state.max_epochs
        if is_best:
            self._best_interval = self._interval()
        if idist.get_rank() > 0:
            return
        if self._replaces:
            self.folder.remove_earlier_files()
            self._replaces = False
            self._write_record()
        if self.history is not None:
            self.history.write(epoch)
        if self.save_interval > 0 and (ended or is_best or epoch % self.save_interval == 0):
            self._save_state(engine)
        if is_best:
            self._save_best()

    def completed(self, engine: Any) -> None:
        """Save the final checkpoints and the result, unless the run was stopped within an epoch."""
        epoch = engine.state.epoch
        if idist.get_rank() > 0 or epoch != self._complete or self._record.get("result", {}).get("epochs") == epoch:
            return
        self._save_checkpoints(self.final)
        self._seconds = self._seconds_so_far()
        self._record["result"] = {
            "ended": _now(),
            "seconds": round(self._seconds, 1),
            "epochs": epoch,
            "max_epochs": engine.state.max_epochs,
            "iterations": engine.state.iteration,
            "last": dict(self.evaluator.state.metrics),
        }
        self._write_record()

    def interrupted(self, engine: Any) -> None:
        """Record that the run was stopped, and what is saved of it."""
        if idist.get_rank() > 0 or not self._record:
            return
        self._record["interrupted"] = {
            "at": _now(),
            "by": engine.state.interrupted_by,
            "in_epoch": engine.state.epoch,
            "saved_epoch": self.folder.saved_epoch,
        }
        self._write_record()

    def _write_record(self) -> None:
        if not self._replaces:
            write_json(self.folder.record, self._record)

    def _save_state(self, engine: Any) -> None:
        if self.summary_writer is not None:
            self.summary_writer.flush()
        evaluated: Any = self.evaluator.state
        state = {
            "version": _VERSION,
            "must_match": self._must_match(),
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "stopped_early": bool(engine.should_terminate),
            "seconds": self._seconds_so_far(),
            "network": get_state_dict(self.network),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": engine.optimizer.state_dict(),
            "lr_scheduler": None if self.lr_scheduler is None else self.lr_scheduler.state_dict(),
            "scaler": None if engine.scaler is None else engine.scaler.state_dict(),
            "best_metric": float(evaluated.best_metric),
            "best_metric_epoch": evaluated.best_metric_epoch,
            "best_interval_95": self._best_interval,
            "metrics": {name: float(value) for name, value in evaluated.metrics.items()},
        }
        write_checkpoint(self.folder.state, state)
        self.folder.saved_epoch = engine.state.epoch

    def _save_best(self) -> None:
        state: Any = self.evaluator.state
        self._record["best"] = {
            "metric": state.key_metric_name,
            "value": float(state.best_metric),
            "epoch": state.best_metric_epoch,
            "interval_95": self._best_interval,
        }
        self._save_checkpoints(self.best)
        self._write_record()

    def _save_checkpoints(self, modules: Mapping[str, nn.Module | None]) -> None:
        for name, module in modules.items():
            if module is not None:
                path = self.folder.path / name
                weights = get_state_dict(module)
                write_checkpoint(path, weights)
                sha256 = self._record["checkpoints"][name] = file_sha256(path)
                if self.card is not None and any(module is model for model in self.best.values()):
                    self._card(self.card, name, weights, sha256).write(card_path(path))

    def _card(self, card: ModelCard, name: str, weights: Mapping[str, Tensor], sha256: str) -> ModelCard:
        if self._is_described is None:
            self._is_described = describes(card, weights)
        if not self._is_described:  # another network_def than the config's own
            card = replace(card, method="custom", network={})
        scores: Any = self.evaluator.state
        return replace(
            card,
            weights={"file": name, "sha256": sha256},
            training={
                "record": self.folder.record.name,
                "epoch": self._complete,
                "best": self._record["best"],
                "last": {key: float(value) for key, value in scores.metrics.items()},
                "splits": self._record["splits"],
            },
            versions={"condseg_monai": __version__, "torch": torch.__version__, "monai": monai.__version__},
        )

    def _interval(self) -> list[float] | None:
        values = self.scores.get_buffer() if self.scores is not None and self.scores.per_image else None
        if values is None:
            return None
        low, high = bootstrap_interval(values[~values.isnan()].tolist())
        return [low, high] if math.isfinite(low) else None

    def _resume(self, engine: Any) -> None:
        state = self._read_state(engine)
        try:
            self._restore(engine, state)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"resume: {self.folder.state} is not the state of such a training ({' '.join(str(error).split())}); "
                "move it away to start anew"
            ) from error
        epoch = engine.state.epoch = self._complete = self.folder.saved_epoch = state["epoch"]
        engine.state.iteration = state["iteration"]
        self._seconds = state["seconds"]
        ended = state["stopped_early"] or epoch >= engine.state.max_epochs
        if ended:
            engine.terminate()  # completed() writes what a killed run could not
        logger = logging.getLogger(__name__)
        if idist.get_rank() == 0:
            self._resume_record(epoch, ended, state["iteration"])
        if ended:
            how = "an early stop" if state["stopped_early"] else f"{epoch} of {engine.state.max_epochs} epochs"
            logger.warning(f"resume: the run of {self.folder.state} has ended already, after {how}")
        else:
            logger.info(f"Resumed {self.folder.state} after epoch {epoch} of {engine.state.max_epochs}")

    def _restore(self, engine: Any, state: Mapping[str, Any]) -> None:
        inner_network(self.network).load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        engine.optimizer.load_state_dict(state["optimizer"])
        if self.lr_scheduler is not None:
            self.lr_scheduler.load_state_dict(state["lr_scheduler"])
        if engine.scaler is not None and state["scaler"]:
            engine.scaler.load_state_dict(state["scaler"])
        evaluated: Any = self.evaluator.state
        for name in ("best_metric", "best_metric_epoch", "metrics"):
            setattr(evaluated, name, state[name])
        self._best_interval = state["best_interval_95"]

    def _read_state(self, engine: Any) -> dict[str, Any]:
        path = self.folder.state
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            version = state["version"]
        except Exception as error:  # unpickling raises a dozen kinds
            raise ValueError(
                f"resume: {path} cannot be read as a training state ({load_failure(error)}); move it away to start anew"
            ) from error
        if version != _VERSION:
            raise ValueError(f"resume: {path} has version {version}, this package reads {_VERSION}")
        kinds = {"must_match": dict, "epoch": int, "iteration": int, "seconds": float, "stopped_early": bool}
        if wrong := [name for name, kind in kinds.items() if not isinstance(state.get(name), kind)]:
            raise ValueError(
                f"resume: {path} is not the state of a training (its {wrong[0]} is missing or no such value); move it "
                "away to start anew"
            )
        now = self._must_match()
        later = {name: now[name] for name in now if name == "method" or name.endswith(" files")}
        was = {**later, **state["must_match"]}  # the states of the first trainings had none of these
        changed = [f"{k} was {was.get(k)}, now is {now.get(k)}" for k in {**was, **now} if was.get(k) != now.get(k)]
        if changed:
            more = [f"and {len(changed) - 8} more"] if len(changed) > 8 else []
            raise ValueError(
                f"resume: the run of {path} had other settings: {'; '.join(changed[:8] + more)}. Set them as they "
                "were, or start a new run with another --ckpt_dir and --output_dir"
            )
        if engine.state.epoch_length * state["epoch"] != state["iteration"]:
            raise ValueError(
                f"resume: {path} has {state['iteration']} iterations in {state['epoch']} epochs, but an epoch now has "
                f"{engine.state.epoch_length}"
            )
        return state

    def _must_match(self) -> dict[str, Any]:
        may_change = MAY_CHANGE
        if self.options.get("lr_schedule") in ("plateau", "poly"):  # the others are fixed to the run's length
            may_change = may_change | {"epochs"}
        options = {name: value for name, value in self.options.items() if name not in may_change}
        lists = {f"{name} list": facts["sha256"] for name, facts in self._split_facts.items()}
        lists |= {f"{name} files": facts["files_sha256"] for name, facts in self._split_facts.items()}
        method = None if self.card is None else self.card.method
        return {"method": method, **options, **lists, "number of processes": idist.get_world_size()}

    @cached_property
    def _split_facts(self) -> dict[str, dict[str, Any]]:
        return {
            name: {"count": len(cases), "sha256": datalist_hash(cases), "files_sha256": content_hash(cases)}
            for name, cases in self.splits.items()
        }

    def _begin_record(self) -> None:
        if idist.get_rank() > 0:
            return
        start = self.starts_from
        if not self._record:
            self._record = {
                "started": _now(),
                "resumed": [],
                "options": self.options,
                "arguments": self.arguments,
                "splits": self._split_facts,
                "starts_from": None if start is None else {"checkpoint": str(start), "sha256": _sha256(start)},
                "environment": describe_environment(),
                "best": None,
                "checkpoints": {},
            }
            if self.summary_writer is not None:
                self._record["tensorboard"] = self.summary_writer.begin()
        self._forget_end()
        self._write_record()

    def _resume_record(self, epoch: int, ended: bool, iteration: int) -> None:
        try:
            self._record = _read_record(self.folder.record)
        except (OSError, ValueError) as error:
            logging.getLogger(__name__).warning(f"The record of the resumed run cannot be read: {error}")
            self._begin_record()
        if self.summary_writer is not None:
            name = self._record.setdefault("tensorboard", self.summary_writer.begin())
            self.summary_writer.resume(name, iteration)
        if ended and self._record.get("result", {}).get("epochs") == epoch:
            return
        if not ended:
            self._record["options"] = self.options
            if self.arguments:
                self._record["arguments"] = self.arguments
            resumed = {"at": _now(), "after_epoch": epoch, "environment": describe_environment()}
            self._record["resumed"] = [*self._record["resumed"], resumed]
        self._forget_end()
        state: Any = self.evaluator.state
        if state.best_metric_epoch == epoch:  # the run may have been killed before it was written
            self._save_best()
        self._write_record()

    def _forget_end(self) -> None:
        for how in ("result", "interrupted"):
            self._record.pop(how, None)

    def _seconds_so_far(self) -> float:
        return self._seconds + time.monotonic() - self._start


def _sha256(path: Path) -> str | None:
    return file_sha256(path) if path.is_file() else None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _read_record(path: Path) -> dict[str, Any]:
    record = read_json_object(path)
    kinds = {"options": dict, "splits": dict, "resumed": list, "checkpoints": dict}
    if not all(isinstance(record.get(name), kind) for name, kind in kinds.items()):
        raise ValueError(f"{path} is no record of a training")
    return record

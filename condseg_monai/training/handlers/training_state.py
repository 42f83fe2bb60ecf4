"""A training run that is killed at any moment goes on as if it had not been."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from condseg_monai.data.lists.datalist import datalist_hash
from condseg_monai.training.handlers.checkpoint_saver import AtomicCheckpointSaver
from condseg_monai.training.handlers.resumable import Resumable, resumables
from condseg_monai.training.random_states import random_state, restore_random_state
from condseg_monai.utils.files import keep_earlier, remove_unfinished, write_checkpoint

__all__ = ["TrainingState"]

_VERSION = 1


class TrainingState:
    """Save all of a training run between two epochs, and continue from it, for a trainer's handlers.

    ``{save_dir}/{filename}`` is replaced atomically every ``save_interval`` epochs and when the run ends. It holds the
    network, the optimizer, the scheduler, the ``GradScaler``, epoch and iteration, the best metric, the memory of
    :class:`~condseg_monai.EarlyStop`, :class:`~condseg_monai.AtomicCheckpointSaver` and
    :class:`~condseg_monai.RunRecord`, and every random state. A run that is killed and resumed repeats the epochs
    since, with the same batches, augmentations, losses and weights: bit for bit on a CPU.

    With ``resume`` a run that has ended is left as it is, unless the trainer's ``max_epochs`` has grown since; without
    a file, training starts from the beginning and says so. Without ``resume``, the file of an earlier run gets a
    numbered name, so that a run never goes on from another one's state. Put this handler before
    :class:`~condseg_monai.RunRecord`; saving comes after all other handlers wherever it stands.

    Args:
        save_dir: folder of the file.
        filename: its name.
        lr_scheduler: the scheduler of the trainer's optimizer.
        evaluator: the engine that validates.
        must_match: values, by name, that a resumed run must not change, such as the encoder.
        splits: for each split its datalist; a resumed run must have the same cases in the same order.
        summary_writer: TensorBoard's writer; what a killed run wrote after the saved state is taken back.
        resume: continue the run whose state is there.
        save_interval: epochs between two saves; 0 saves nothing.
        overwrite: remove the state of an earlier run instead of keeping it.
    """

    def __init__(
        self,
        save_dir: str,
        filename: str,
        lr_scheduler: Any = None,
        evaluator: Engine | None = None,
        must_match: Mapping[str, Any] | None = None,
        splits: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        summary_writer: Any = None,
        resume: bool = False,
        save_interval: int = 1,
        overwrite: bool = False,
    ) -> None:
        if save_interval < 0:
            raise ValueError(f"save_interval must be >= 0 epochs, got {save_interval}")
        self.path = Path(save_dir) / filename
        self.lr_scheduler = lr_scheduler
        self.evaluator = evaluator
        self.must_match = dict(must_match or {})
        self.splits = dict(splits or {})
        self.summary_writer = summary_writer
        self.resume = resume
        self.save_interval = save_interval
        self.overwrite = overwrite
        self._started = False

    def attach(self, engine: Engine) -> None:
        """Begin or continue when ``engine`` starts.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.STARTED, self.started)

    def started(self, engine: SupervisedTrainer) -> None:
        """Continue from the file, or keep it out of the way of a run that begins.

        Args:
            engine: the trainer.

        Raises:
            ValueError: if the file cannot be read, or is of a run with other settings; the message names them.
        """
        if self._started:  # federated rounds start the same trainer again and again
            return
        self._started = True
        if not self.resume or not self.path.is_file():
            self._begin(engine)
        elif not self._continue(engine):
            engine.terminate(skip_completed=True)
            return
        if self.save_interval > 0:  # registered now, so that they come after all others
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.save_interval), self.epoch_completed)
            engine.add_event_handler(Events.COMPLETED, self.completed)

    def epoch_completed(self, engine: SupervisedTrainer) -> None:
        """Save, unless the run is about to end.

        Args:
            engine: the trainer.
        """
        if not engine.should_terminate and engine.state.epoch != engine.state.max_epochs:
            self.save(engine)

    def completed(self, engine: SupervisedTrainer) -> None:
        """Save the run as ended, after everything else is written; one that was stopped within an epoch is not saved.

        Args:
            engine: the trainer.
        """
        if engine.state.iteration == engine.state.epoch * engine.state.epoch_length:
            self.save(engine)

    def save(self, engine: SupervisedTrainer) -> None:
        """Write the file.

        Args:
            engine: the trainer, between two epochs.

        Raises:
            OSError: if it cannot be written; the file before stays.
        """
        random_states = _of_all_processes(random_state(_dataset(engine), engine.state.device))
        if idist.get_rank() > 0:
            return
        if self.summary_writer is not None:
            self.summary_writer.flush()
        state = {
            "version": _VERSION,
            "must_match": self._must_match(),
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "ended_early": bool(engine.should_terminate),
            "skipped_batches": getattr(engine.state, "skipped_batches", 0),
            "network": _module(engine.network).state_dict(),
            "optimizer": engine.optimizer.state_dict(),
            "lr_scheduler": None if self.lr_scheduler is None else self.lr_scheduler.state_dict(),
            "scaler": None if engine.scaler is None else engine.scaler.state_dict(),
            "evaluator": self._evaluator_state(),
            "handlers": {name: dict(handler.state_dict()) for name, handler in self._handlers(engine).items()},
            "random": random_states,
        }
        write_checkpoint(self.path, state)

    def _begin(self, engine: SupervisedTrainer) -> None:
        logger = logging.getLogger(__name__)
        if self.resume:
            logger.warning(f"resume: there is no {self.path}, so training starts from the beginning")
        if idist.get_rank() > 0:
            return
        remove_unfinished(self.path)
        if self.path.is_file():
            for kept in [] if self.overwrite else keep_earlier([self.path]):
                logger.info(f"{self.path} of an earlier run is kept as {kept}")
            self.path.unlink()
        for handler in self._handlers(engine).values():
            if isinstance(handler, AtomicCheckpointSaver):
                handler.keep_earlier()

    def _continue(self, engine: SupervisedTrainer) -> bool:
        """Load the file; False if its run has ended."""
        logger = logging.getLogger(__name__)
        state = self._read(engine)
        if state["ended_early"] or state["epoch"] >= engine.state.max_epochs:
            how = "an early stop" if state["ended_early"] else f"{state['epoch']} of {engine.state.max_epochs} epochs"
            logger.warning(f"resume: the run of {self.path} has ended already, after {how}; nothing is left to do")
            return False
        _module(engine.network).load_state_dict(state["network"])
        engine.optimizer.load_state_dict(state["optimizer"])
        if self.lr_scheduler is not None:
            self.lr_scheduler.load_state_dict(state["lr_scheduler"])
        if engine.scaler is not None and state["scaler"]:
            engine.scaler.load_state_dict(state["scaler"])
        for name, value in state["evaluator"].items():
            if self.evaluator is not None:
                setattr(self.evaluator.state, name, value)
        for name, handler in self._handlers(engine).items():
            if name in state["handlers"]:
                handler.load_state_dict(state["handlers"][name])
        engine.state.epoch, engine.state.iteration = state["epoch"], state["iteration"]
        engine.state.skipped_batches = state["skipped_batches"]
        engine.state.resumed = True
        if idist.get_rank() == 0:
            remove_unfinished(self.path)
            self._take_back_events(state["iteration"])
        restore_random_state(state["random"][idist.get_rank()], _dataset(engine), engine.state.device)
        logger.info(f"Training goes on from {self.path}, after epoch {state['epoch']} of {engine.state.max_epochs}")
        return True

    def _read(self, engine: SupervisedTrainer) -> dict[str, Any]:
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            version = state["version"]
        except Exception as error:  # unpickling raises a dozen kinds
            raise ValueError(
                f"resume: {self.path} cannot be read as a training state ({error}); move it away to start anew"
            ) from error
        if version != _VERSION:
            raise ValueError(f"resume: {self.path} has version {version}, this package reads {_VERSION}")
        found, expected = state["must_match"], self._must_match()
        differences = [
            f"{name} was {found.get(name)}, now is {value}"
            for name, value in expected.items()
            if found.get(name) != value
        ]
        if differences:
            raise ValueError(
                f"resume: the run of {self.path} had other settings: {'; '.join(differences)}. "
                "Set them as they were, or start a new run without --resume true"
            )
        if engine.state.epoch_length * state["epoch"] != state["iteration"]:
            raise ValueError(
                f"resume: {self.path} has {state['iteration']} iterations in {state['epoch']} epochs, but an epoch "
                f"now has {engine.state.epoch_length}"
            )
        return dict(state)

    def _must_match(self) -> dict[str, Any]:
        lists = {f"{name} list": datalist_hash(datalist) for name, datalist in self.splits.items()}
        return {**self.must_match, **lists, "number of processes": idist.get_world_size()}

    def _handlers(self, engine: Engine) -> dict[str, Resumable]:
        of_evaluator = {} if self.evaluator is None else resumables(self.evaluator)
        return {
            **{f"trainer/{name}": handler for name, handler in resumables(engine).items()},
            **{f"evaluator/{name}": handler for name, handler in of_evaluator.items()},
        }

    def _evaluator_state(self) -> dict[str, Any]:
        if self.evaluator is None:
            return {}
        state: Any = self.evaluator.state
        return {
            "best_metric": _plain(state.best_metric),
            "best_metric_epoch": state.best_metric_epoch,
            "metrics": {name: _plain(value) for name, value in state.metrics.items()},
        }

    def _take_back_events(self, iteration: int) -> None:
        """Have TensorBoard forget the steps after ``iteration``, as a new writer's ``purge_step`` does."""
        writer = getattr(self.summary_writer, "file_writer", None)
        if writer is not None:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # there is a writer, so it is installed

            writer.add_event(Event(step=iteration + 1, session_log=SessionLog(status=SessionLog.START)))


def _dataset(engine: SupervisedTrainer) -> Any:
    return getattr(engine.data_loader, "dataset", None)


def _module(network: nn.Module) -> nn.Module:
    network = getattr(network, "_orig_mod", network)  # compiled: the same weights under their own names
    return network.module if isinstance(network, (DataParallel, DistributedDataParallel)) else network


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _of_all_processes(state: dict[str, Any]) -> list[dict[str, Any]]:
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return [state]
    states: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(states, state)
    return states

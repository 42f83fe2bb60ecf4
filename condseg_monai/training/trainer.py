"""Trainer that stops on a non-finite loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from ignite.engine import Engine, EventEnum, Events
from monai.engines import IterationEvents, SupervisedTrainer
from monai.networks import get_state_dict
from torch import Tensor

from condseg_monai.training.run_folder import RunFolder
from condseg_monai.utils.interruption import interruption_behind, signal_of, sigterm_interrupts

__all__ = ["GuardedTrainer", "NonFiniteLossError", "RunEvents"]


class RunEvents(EventEnum):
    """Events of a :class:`GuardedTrainer` beside ignite's and MONAI's."""

    INTERRUPTED = "run_interrupted"
    """Ctrl-C or SIGTERM: ``state.interrupted_by`` says which."""
    ENDED = "run_ended"
    """The run is over, whatever ended it."""


class NonFiniteLossError(FloatingPointError):
    """The loss of a batch, or a weight after an epoch, is NaN or infinite."""


class GuardedTrainer(SupervisedTrainer):
    """MONAI's ``SupervisedTrainer``, which stops on a non-finite loss, has a folder to itself, and ends in order.

    A loss that is NaN or infinite stops the run before the optimizer takes a step. A finite loss may still have a
    gradient that is not, or leave infinite statistics in BatchNorm: so parameters and buffers are looked at when an
    epoch ends, before it is validated and saved. An overflow of the scaled gradients in mixed precision, with a finite
    loss, is left to the ``GradScaler``.

    Args:
        *args: as for :class:`monai.engines.SupervisedTrainer`.
        precision: that of the inferer; ``"float16"`` scales the loss (``amp`` of MONAI's trainer).
        run_folder: claimed while training runs.
        **kwargs: as for :class:`monai.engines.SupervisedTrainer`.
    """

    def __init__(
        self, *args: Any, precision: str = "float32", run_folder: RunFolder | None = None, **kwargs: Any
    ) -> None:
        events = [RunEvents, *kwargs.pop("event_names", ())]
        super().__init__(*args, **{**kwargs, "amp": precision == "float16", "event_names": events})
        self.run_folder = run_folder
        self.add_event_handler(IterationEvents.LOSS_COMPLETED, self._check_loss)
        # before EPOCH_COMPLETED, at which the epoch is validated and saved
        self.add_event_handler(Events.ITERATION_COMPLETED(event_filter=_is_last_of_epoch), self._check_weights)

    def run(self) -> None:  # type: ignore[override]
        """Train, as MONAI's trainer does.

        Raises:
            NonFiniteLossError: see the class; the message names epoch, files and terms of the loss.
            KeyboardInterrupt: on Ctrl-C and, as its kind ``Terminated``, on SIGTERM; the message says which epoch is
                saved and how to continue.
        """
        with sigterm_interrupts():
            try:
                with self.run_folder.claimed() if self.run_folder else nullcontext():
                    self._run_to_its_end()
            except KeyboardInterrupt as error:
                raise type(error)(self._interruption(error)) from None

    def _run_to_its_end(self) -> None:
        try:
            self._train()
        except BaseException as error:
            interruption = interruption_behind(error)
            if interruption is None:
                raise
            state: Any = self.state
            state.interrupted_by = signal_of(interruption)
            self.fire_event(RunEvents.INTERRUPTED)
            raise interruption from None
        finally:
            self.fire_event(RunEvents.ENDED)

    def _train(self) -> None:
        try:
            super().run()
        except ValueError as error:
            if not str(error).startswith("Expected more than 1 "):  # PyTorch's batch and instance norm
                raise
            batch: Any = self.state.batch
            image = batch["image"]
            size = "x".join(str(side) for side in image.shape[2:])
            raise ValueError(
                f"a training batch of {len(image)} image(s) of {size} pixels leaves one value per channel behind the "
                "network's last stride, and normalisation needs two: raise --image_size or --batch_size. The last "
                "batch of an epoch has what the others leave"
            ) from error

    def _interruption(self, error: KeyboardInterrupt) -> str:
        saved = self.run_folder.saved_epoch if self.run_folder else 0
        text = f"training was stopped by {signal_of(error)} in epoch {self.state.epoch} of {self.state.max_epochs}"
        if saved == 0 and self.run_folder and self.run_folder.has_other_stages():
            return f"{text}, before anything of it was saved; the same command with --resume true keeps what is there"
        if saved == 0:
            return f"{text}, before anything was saved: the same command begins anew"
        return f"{text}; epoch {saved} is saved, and the same command with --resume true continues after it"

    def _check_loss(self, engine: Any) -> None:
        loss: Tensor = engine.state.output["loss"].detach()
        if bool(torch.isfinite(loss).all()):
            return
        terms = {"loss": loss.item(), **{k: float(v) for k, v in getattr(self.loss_function, "terms", {}).items()}}
        batch = engine.state.batch
        files = batch.get("image_file") if isinstance(batch, Mapping) else None
        raise NonFiniteLossError(
            f"non-finite loss ({', '.join(name for name, value in terms.items() if not math.isfinite(value))}) in "
            f"epoch {engine.state.epoch}, iteration {engine.state.iteration}: "
            f"{', '.join(f'{name} {value:.6g}' for name, value in terms.items())}; "
            f"files of the batch: {', '.join(map(str, files)) if files else 'not known'}. Training stopped before this "
            "batch changed a weight, and the checkpoints are those from before. Look at these files; continue with "
            "--resume true --precision float32, or start anew with a lower --learning_rate"
        )

    def _check_weights(self, engine: Any) -> None:
        weights = get_state_dict(engine.network).items()
        ruined = [name for name, value in weights if not bool(torch.isfinite(value).all())]
        if ruined:
            raise NonFiniteLossError(
                f"{len(ruined)} of the network's parameters and buffers are not finite after epoch "
                f"{engine.state.epoch}, {ruined[0]} for one, though every loss was. The checkpoints are those from "
                "before. Start anew with a lower --learning_rate"
            )


def _is_last_of_epoch(engine: Engine, iteration: int) -> bool:
    return iteration % (engine.state.epoch_length or 1) == 0

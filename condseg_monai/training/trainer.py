"""Trainer that stops on a non-finite loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents, SupervisedTrainer
from monai.networks import get_state_dict
from torch import Tensor

from condseg_monai.training.run_folder import RunFolder

__all__ = ["GuardedTrainer", "NonFiniteLossError"]


class NonFiniteLossError(FloatingPointError):
    """The loss of a batch, or a weight after an epoch, is NaN or infinite."""


class GuardedTrainer(SupervisedTrainer):
    """MONAI's ``SupervisedTrainer``, which stops on a non-finite loss and has a folder to itself.

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
        super().__init__(*args, **{**kwargs, "amp": precision == "float16"})
        self.run_folder = run_folder
        self.add_event_handler(IterationEvents.LOSS_COMPLETED, self._check_loss)
        # before EPOCH_COMPLETED, at which the epoch is validated and saved
        self.add_event_handler(Events.ITERATION_COMPLETED(event_filter=_is_last_of_epoch), self._check_weights)

    def run(self) -> None:  # type: ignore[override]
        """Train, as MONAI's trainer does.

        Raises:
            NonFiniteLossError: see the class; the message names epoch, files and terms of the loss.
            KeyboardInterrupt: if it is stopped from the keyboard; the message says how to continue.
        """
        try:
            with self.run_folder.claimed() if self.run_folder else nullcontext():
                super().run()
        except ValueError as error:
            if not str(error).startswith("Expected more than 1 "):  # PyTorch's batch and instance norm
                raise
            batch: Any = self.state.batch
            image = batch["image"]
            size = "x".join(str(side) for side in image.shape[2:])
            raise ValueError(
                f"a training batch of {len(image)} image(s) of {size} pixels leaves one value per channel behind the "
                "network's last stride, and normalisation needs two: raise image_size or batch_size. The last batch of "
                "an epoch has what the others leave"
            ) from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"training was stopped in epoch {self.state.epoch} of {self.state.max_epochs}; the same command with "
                "--resume true continues after the last epoch whose state was saved"
            ) from None

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
            "batch changed a weight, and the checkpoints are those from before. Look at these files; set precision to "
            "float32 and continue with --resume true, or start anew with a lower learning_rate"
        )

    def _check_weights(self, engine: Any) -> None:
        weights = get_state_dict(engine.network).items()
        ruined = [name for name, value in weights if not bool(torch.isfinite(value).all())]
        if ruined:
            raise NonFiniteLossError(
                f"{len(ruined)} of the network's parameters and buffers are not finite after epoch "
                f"{engine.state.epoch}, {ruined[0]} for one, though every loss was. The checkpoints are those from "
                "before. Start anew with a lower learning_rate"
            )


def _is_last_of_epoch(engine: Engine, iteration: int) -> bool:
    return iteration % (engine.state.epoch_length or 1) == 0

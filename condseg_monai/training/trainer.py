"""A trainer that learns nothing from a loss that is not a number."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents, SupervisedTrainer
from torch import Tensor, nn

__all__ = ["GuardedTrainer", "NonFiniteLossError"]


class NonFiniteLossError(FloatingPointError):
    """The loss of a batch is NaN or infinite; the message names epoch, files and terms."""


class GuardedTrainer(SupervisedTrainer):
    """MONAI's ``SupervisedTrainer``, which looks at each loss before it goes backward.

    A loss that is NaN or infinite stops the run before the optimizer takes a step. With ``skip_nonfinite`` the batch is
    left out instead: no step is taken, the buffers that its forward pass touched (BatchNorm's running statistics) are
    put back, the log names its files, and ``state.skipped_batches`` and the output's ``skipped_batches`` count it. In a
    distributed run a batch is left out by all processes if one of them has to. An overflow of the scaled gradients in
    mixed precision, with a finite loss, is left to the ``GradScaler``.

    Without mixed precision a finite loss can have a gradient that is not, and the step that takes it ruins the weights.
    So they are looked at when an epoch ends, before it is validated and saved: parameters that are not finite stop the
    run, with ``skip_nonfinite`` too.

    Stopped from the keyboard, the trainer fires ignite's ``Events.INTERRUPT`` and says how to go on. A batch that is
    too small for the network's normalisation is refused in the words of the configs.

    Args:
        *args: as for :class:`monai.engines.SupervisedTrainer`.
        skip_nonfinite: leave such batches out instead of stopping.
        file_key: entry of a batch with the names of its files.
        **kwargs: as for :class:`monai.engines.SupervisedTrainer`.
    """

    def __init__(
        self,
        *args: Any,
        skip_nonfinite: bool = False,
        file_key: str = "image_file",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.skip_nonfinite = skip_nonfinite
        self.file_key = file_key
        self.state.skipped_batches = 0
        self.add_event_handler(IterationEvents.LOSS_COMPLETED, self._check_loss)
        # what follows the epoch's end, validation and saving, was registered before
        self.add_event_handler(Events.ITERATION_COMPLETED(event_filter=_is_last_of_epoch), self._check_weights)

    def run(self) -> None:  # type: ignore[override]
        """Train, as MONAI's trainer does.

        Raises:
            KeyboardInterrupt: if it is stopped from the keyboard; the message says how to go on.
        """
        try:
            super().run()
        except KeyboardInterrupt:
            self.fire_event(Events.INTERRUPT)
            raise KeyboardInterrupt(
                f"training was stopped in epoch {self.state.epoch} of {self.state.max_epochs}; the same command with "
                "--resume true goes on after the last epoch whose state was saved"
            ) from None

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._guarded_iteration(engine, batchdata)
        except ValueError as error:
            if not str(error).startswith("Expected more than 1 "):  # PyTorch's batch and instance norm
                raise
            size = "x".join(str(side) for side in batchdata["image"].shape[2:])
            raise ValueError(
                f"a training batch of {len(batchdata['image'])} image(s) of {size} pixels leaves one value per channel "
                "behind the network's last stride, and normalisation needs two: raise image_size or batch_size. The "
                "last batch of an epoch has what the others leave"
            ) from error

    def _guarded_iteration(self, engine: Any, batchdata: dict[str, Any]) -> dict[str, Any]:
        if not self.skip_nonfinite:
            return super()._iteration(engine, batchdata)
        buffers = [(buffer, buffer.clone()) for buffer in engine.network.buffers()]
        try:
            output = super()._iteration(engine, batchdata)
        except NonFiniteLossError as error:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            self.state.skipped_batches += 1
            logging.getLogger(__name__).warning(f"Skipped a batch ({self.state.skipped_batches} so far): {error}")
            output = {"loss": torch.as_tensor(engine.state.output["loss"]).detach()}
        return {**output, "skipped_batches": self.state.skipped_batches}

    def _check_loss(self, engine: Engine) -> None:
        loss: Tensor = engine.state.output["loss"]  # type: ignore[index]
        finite = bool(torch.isfinite(loss.detach()).all())
        if self.skip_nonfinite and idist.get_world_size() > 1:
            finite = int(idist.all_reduce(int(finite), "MIN")) == 1
        if not finite:
            raise NonFiniteLossError(self._describe(loss))

    def _check_weights(self, engine: Engine) -> None:
        network: nn.Module = engine.network  # type: ignore[attr-defined]
        ruined = [name for name, value in network.named_parameters() if not bool(torch.isfinite(value).all())]
        if ruined:
            raise NonFiniteLossError(
                f"{len(ruined)} of the network's parameters are not finite after epoch {self.state.epoch}, {ruined[0]} "
                "for one, though every loss was: a gradient was not. The checkpoints are those from before. Start anew "
                "with a lower learning_rate"
            )

    def _describe(self, loss: Tensor) -> str:
        state: Any = self.state
        terms: Mapping[str, Any] = getattr(self.loss_function, "terms", {})
        numbers = {"loss": loss.detach().item(), **{name: float(value) for name, value in terms.items()}}
        files = state.batch.get(self.file_key) if isinstance(state.batch, Mapping) else None
        culprits = [name for name, value in numbers.items() if not math.isfinite(value)]
        advice = (
            ""
            if self.skip_nonfinite
            else ". Training stopped before this batch changed a weight, and the checkpoints "
            "are those from before. Look at these files; set precision to float32 or leave such batches out with "
            "--skip_nonfinite true and continue with --resume true, or start anew with a lower learning_rate"
        )
        where = ", ".join(culprits) or "of another process"
        values = ", ".join(f"{name} {value:.6g}" for name, value in numbers.items())
        return (
            f"non-finite loss ({where}) in epoch {state.epoch}, iteration {state.iteration}: {values}; "
            f"files of the batch: {', '.join(map(str, files)) if files else 'not known'}{advice}"
        )


def _is_last_of_epoch(engine: Engine, iteration: int) -> bool:
    return iteration % (engine.state.epoch_length or 1) == 0

"""Semi-supervised training: batches of labelled and unlabelled images, and the trainer of their losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import PrepareBatch
from torch import Tensor

from condseg_monai.training.trainer import GuardedTrainer

__all__ = ["SemiSupervisedPrepareBatch", "SemiSupervisedTrainer", "consistency_rampup"]


class SemiSupervisedPrepareBatch(PrepareBatch):
    """Give a trainer the labelled images, the unlabelled ones, and perturbed copies of the latter, in one batch.

    Made for a :class:`~condseg_monai.SemiSupervisedNetwork`. The perturbation runs on the trainer's device.

    Args:
        perturbation: maps images ``(B, 3, H, W)`` in [0, 1] to images of the same shape and range, drawing per image
            from torch's generator.
        normalization: maps images ``(B, 3, H, W)`` in [0, 1] to what the network takes.
        flag: the entry of a batch that says which of its images have a label.

    Example:
        >>> prepare = SemiSupervisedPrepareBatch(lambda x: 1 - x, lambda x: x - 0.5)
        >>> batch = {"image": torch.ones(3, 3, 4, 4), "label": torch.zeros(3, 1, 4, 4)}
        >>> views, label, _, options = prepare({**batch, "labeled": torch.tensor([True, False, False])})
        >>> views.shape[0], label.shape[0], options["labeled"], views[-1].max().item(), options["images"].shape[0]
        (5, 1, 1, -0.5, 4)
    """

    def __init__(
        self,
        perturbation: Callable[[Tensor], Tensor],
        normalization: Callable[[Tensor], Tensor],
        flag: str = "labeled",
    ) -> None:
        self.perturbation = perturbation
        self.normalization = normalization
        self.flag = flag

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
        """Build the views of one batch.

        Args:
            batchdata: ``image`` ``(B, 3, H, W)`` in [0, 1], ``label`` ``(B, 1, H, W)`` with anything where there is
                none, and the flag, ``(B,)`` booleans.
            device: where the views are made.
            non_blocking: as for ``Tensor.to``.
            **kwargs: further arguments of ``Tensor.to``.

        Returns:
            Views ``(L + 2 U, 3, H, W)``, normalised: labelled, unlabelled, these perturbed; the labels
            ``(L, 1, H, W)``; no positional and two keyword arguments for the network: ``labeled``, L, and ``images``,
            the last ``2 U`` before normalisation.

        Raises:
            ValueError: if the batch has no labelled image, or the perturbation changes the images' shape.
        """
        labeled = torch.as_tensor(batchdata[self.flag], dtype=torch.bool)
        if not bool(labeled.any()):
            raise ValueError("the batch has no labelled image: see TwoStreamBatchSampler")
        image = batchdata["image"].as_subclass(Tensor)
        label = batchdata["label"].as_subclass(Tensor)[labeled]
        options: dict[str, Any] = {"device": device, "non_blocking": non_blocking, **kwargs}
        known, unknown, label = image[labeled].to(**options), image[~labeled].to(**options), label.to(**options)
        with torch.no_grad():
            perturbed = self.perturbation(unknown) if len(unknown) > 0 else unknown
            if perturbed.shape != unknown.shape:
                raise ValueError(f"perturbation must keep {tuple(unknown.shape)}, got {tuple(perturbed.shape)}")
            views = torch.cat([self.normalization(x) for x in (known, unknown, perturbed) if len(x) > 0])
        return views, label, (), {"labeled": len(known), "images": torch.cat([unknown, perturbed])}


class SemiSupervisedTrainer(GuardedTrainer):
    """A :class:`GuardedTrainer` that tells the batch sampler its epoch and the loss how far its ramp has come.

    Nothing of it has to be saved with a training: both follow from epoch and iteration.

    Args:
        *args: as for :class:`GuardedTrainer`; ``loss_function`` is a :class:`~condseg_monai.SemiSupervisedLoss`.
        rampup_epochs: epochs over which the consistency terms grow to their weights, see :func:`consistency_rampup`;
            0 for all of them from the start.
        **kwargs: as for :class:`GuardedTrainer`.

    Raises:
        ValueError: if ``rampup_epochs`` is negative.
    """

    def __init__(self, *args: Any, rampup_epochs: float = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if rampup_epochs < 0:
            raise ValueError(f"rampup_epochs must be >= 0, got {rampup_epochs}")
        self.rampup_epochs = rampup_epochs
        self.add_event_handler(Events.EPOCH_STARTED, self._set_epoch)
        self.add_event_handler(Events.ITERATION_STARTED, self._set_rampup)

    def _set_epoch(self, engine: Engine) -> None:
        sampler: Any = getattr(self.data_loader, "batch_sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(engine.state.epoch)

    def _set_rampup(self, engine: Engine) -> None:
        state: Any = engine.state
        loss: Any = self.loss_function
        loss.rampup = consistency_rampup(state.iteration - 1, self.rampup_epochs * state.epoch_length)


def consistency_rampup(step: float, steps: float) -> float:
    """The usual Gaussian ramp of consistency terms, ``exp(-5 (1 - step / steps) ** 2)``, and 1 from ``steps`` on.

    Source: S. Laine and T. Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017.

    Args:
        step: steps taken, >= 0.
        steps: length of the ramp; 0 for none.

    Example:
        >>> [round(consistency_rampup(step, 10), 3) for step in (0, 5, 10, 11)], consistency_rampup(0, 0)
        ([0.007, 0.287, 1.0, 1.0], 1.0)
    """
    return 1.0 if step >= steps else math.exp(-5 * (1 - step / steps) ** 2)

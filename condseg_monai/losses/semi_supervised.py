"""Semi-supervised loss: a supervised loss on labelled images, and three kinds of consistency."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai.losses._common import Terms, check_number, check_same_shape, full_precision

__all__ = ["SemiSupervisedLoss", "probability_distance"]


def probability_distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of two predictions' probabilities.

    Source: DEC-Seg, its consistency terms. The gradient flows into both.

    Args:
        first: ``(B, C, H, W)`` logits: sigmoid for one channel, softmax for several. Computed in float32.
        second: likewise.

    Returns:
        Scalar in [0, 1]; 0 for an empty batch.

    Example:
        >>> probability_distance(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 100.0)).item()
        0.25
    """
    check_same_shape("first", first, "second", second)
    if first.numel() == 0:
        return first.sum().float()
    with full_precision(first, second) as (a, b):
        if a.shape[1] == 1:
            return F.mse_loss(a.sigmoid(), b.sigmoid())
        return F.mse_loss(a.softmax(dim=1), b.softmax(dim=1))


class SemiSupervisedLoss(nn.Module):
    """Supervised loss on the labelled images plus weighted consistency losses.

    Source: DEC-Seg:
    ``supervised + rampup (w_s scale + w_p perturbation + w_g generative)``, the weights being the arguments below.

    :class:`~condseg_monai.SemiSupervisedTrainer` sets ``rampup``, in [0, 1], before each step. After each call
    ``terms`` holds detached scalars: the terms of the supervised loss by their names, ``supervised``, the three
    unweighted ``..._consistency``, and ``rampup``.

    Args:
        supervised: the loss of the labelled images, ``(output, target) -> scalar``.
        scale_weight: of :func:`probability_distance` of the full and the down scale, added over the labelled, the
            unlabelled and the perturbed images.
        perturbation_weight: likewise of clean and perturbed unlabelled images, added over the mask outputs.
        generative_weight: of the mean squared difference of the generated images and their targets, in [0, 1], added
            over both.

    Raises:
        ValueError: if a weight is negative or not finite.

    Example:
        >>> from types import SimpleNamespace
        >>> zero, one = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
        >>> step = SimpleNamespace(labeled=zero, scales=[], clean=[zero], perturbed=[zero], rebuilt=[(zero, one)])
        >>> loss = SemiSupervisedLoss(nn.BCEWithLogitsLoss(), generative_weight=2.0)
        >>> round(loss(step, one).item(), 4), loss.terms["generative_consistency"].item()  # log 2 + 2 * 1
        (2.6931, 1.0)
    """

    def __init__(
        self,
        supervised: nn.Module,
        scale_weight: float = 1.0,
        perturbation_weight: float = 1.0,
        generative_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.supervised = supervised
        self.scale_weight = check_number("scale_weight", scale_weight, "[0, inf)")
        self.perturbation_weight = check_number("perturbation_weight", perturbation_weight, "[0, inf)")
        self.generative_weight = check_number("generative_weight", generative_weight, "[0, inf)")
        self.rampup = 1.0
        self.terms: Terms = {}

    def forward(self, input: Any, target: Tensor) -> Tensor:
        """Compute the loss, a scalar.

        Args:
            input: the output of a ``SemiSupervisedNetwork`` in train mode (``SemiSupervisedOutput``).
            target: labels of the labelled images, ``(L, 1, H, W)``.
        """
        self.terms = {}
        supervised = self.supervised(input.labeled, target)
        nothing = supervised.new_zeros(())
        scale = sum((probability_distance(full, down) for full, down in input.scales), nothing)
        pairs = zip(input.clean, input.perturbed, strict=True)
        perturbation = sum((probability_distance(clean, perturbed) for clean, perturbed in pairs), nothing)
        generative = sum((_image_distance(drawn, image) for drawn, image in input.rebuilt), nothing)
        self.terms = {
            **getattr(self.supervised, "terms", {}),
            "supervised": supervised.detach(),
            "scale_consistency": scale.detach(),
            "perturbation_consistency": perturbation.detach(),
            "generative_consistency": generative.detach(),
            "rampup": torch.tensor(self.rampup),
        }
        return supervised + self.rampup * (
            self.scale_weight * scale + self.perturbation_weight * perturbation + self.generative_weight * generative
        )


def _image_distance(drawn: Tensor, image: Tensor) -> Tensor:
    with full_precision(drawn, image) as (a, b):
        return F.mse_loss(a, b)

"""Loss of stage 2: the mask, its decoupled regions, and their complementarity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from condseg_monai.losses._common import (
    Terms,
    check_balance,
    check_class_target,
    check_floating,
    check_same_shape,
    check_target,
    check_weight,
    full_precision,
)
from condseg_monai.losses.class_mask import class_mask_loss
from condseg_monai.losses.complementary import complementary_loss
from condseg_monai.losses.mask import mask_loss
from condseg_monai.losses.region_weighting import RegionWeight

__all__ = ["ConDSegLoss"]


class ConDSegLoss(nn.Module):
    """Loss of stage 2: mask, foreground and background losses, and the complementary loss of the regions.

    Source: ConDSeg (AAAI 2025), Eq. 15: ``mask_loss(mask) + beta_1 mask_loss(foreground) + beta_2 mask_loss(background,
    1 - target) + complementary_loss``, where beta is :func:`region_weight` (Eq. 9) and the region probabilities of the
    last term are the softmax over the three regions' logits (Eq. 8). Each image has its own beta_1 and beta_2.

    Of several classes (a mask of several channels, a target of class numbers), the mask's term is
    :func:`class_mask_loss`; for the regions, all that is not background is foreground.

    After each call ``terms`` holds detached scalars, averaged over the images: the unweighted losses ``mask``,
    ``foreground``, ``background`` and ``complementary``, and beta_1 and beta_2 as ``foreground_weight`` and
    ``background_weight``. Before the first call, or after one that failed, it is empty.

    Note: the gradient of beta, part of the equation as written, favours larger regions: the best constant foreground
    probability for a lesion of 5 % of an image is 0.61 with it and 0.07 without. It vanishes with the loss it
    multiplies, so a right prediction is the optimum either way.

    Args:
        lambda_mask: factor of the mask term; the paper's factors are all 1.
        lambda_foreground: factor of the foreground term, beside beta_1.
        lambda_background: factor of the background term, beside beta_2.
        lambda_complementary: factor of the complementary term.
        ceiling: largest beta, finite and above 1.
        weight_gradient: whether the gradient flows through beta, as in the equation.
        lambda_ce: factor of the cross-entropy in the mask term alone, as in :func:`mask_loss`.
        class_balance: ``balance`` of the cross-entropy in the mask term alone, as in :func:`mask_loss`.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import torch
        >>> from typing import NamedTuple
        >>> Output = NamedTuple("Output", mask=Tensor, foreground=Tensor, background=Tensor, uncertainty=Tensor)
        >>> loss = ConDSegLoss()
        >>> value = loss(Output(*torch.zeros(4, 2, 1, 8, 8)), torch.ones(2, 1, 8, 8))
        >>> round(loss.terms["foreground_weight"].item(), 3), round(loss.terms["complementary"].item(), 3)
        (2.164, 0.333)
    """

    def __init__(
        self,
        lambda_mask: float = 1.0,
        lambda_foreground: float = 1.0,
        lambda_background: float = 1.0,
        lambda_complementary: float = 1.0,
        ceiling: float = 100.0,
        weight_gradient: bool = True,
        lambda_ce: float = 1.0,
        class_balance: float = 0.0,
    ) -> None:
        super().__init__()
        self.lambda_mask = check_weight("lambda_mask", lambda_mask)
        self.lambda_foreground = check_weight("lambda_foreground", lambda_foreground)
        self.lambda_background = check_weight("lambda_background", lambda_background)
        self.lambda_complementary = check_weight("lambda_complementary", lambda_complementary)
        self.region_weight = RegionWeight(ceiling)
        self.weight_gradient = weight_gradient
        self.lambda_ce = check_weight("lambda_ce", lambda_ce)
        self.class_balance = check_balance("class_balance", class_balance)
        self.terms: Terms = {}

    def forward(self, input: Any, target: Tensor) -> Tensor:
        """Compute the loss, a float32 (or float64) scalar, averaged over images.

        Args:
            input: the network's train-mode output (``ConDSegOutput``): logits ``mask``, ``(B, C, H, W)``, and
                ``foreground``, ``background`` and ``uncertainty``, each ``(B, 1, H, W)``.
            target: ``(B, 1, H, W)``, any real type: in [0, 1], or, if the mask has C >= 2 channels, class numbers 0
                (background) to C - 1.

        Raises:
            TypeError: if ``input`` lacks one of the four, a map is not floating point, or ``target`` is not real.
            ValueError: if a shape is not as above, or, on the CPU, ``target`` has values that are no class numbers.
        """
        self.terms = {}
        check_regions(input, target)
        several = input.mask.shape[1] > 1
        with full_precision(input.mask, input.foreground, input.background, input.uncertainty, target) as tensors:
            mask, foreground, background, uncertainty, labels = tensors
            of_mask = class_mask_loss if several else mask_loss
            mask_term = of_mask(mask, labels, reduction="none", lambda_ce=self.lambda_ce, balance=self.class_balance)
            if several:
                labels = (labels > 0).to(labels)
            foreground_term = mask_loss(foreground, labels, reduction="none")
            background_term = mask_loss(background, 1 - labels, reduction="none")
            complementary_term = complementary_loss(torch.cat([foreground, background, uncertainty], 1).softmax(dim=1))
            beta_1, beta_2 = self.region_weight(foreground), self.region_weight(background)
            self.terms = {
                "mask": mask_term.detach().mean(),
                "foreground": foreground_term.detach().mean(),
                "background": background_term.detach().mean(),
                "complementary": complementary_term.detach(),
                "foreground_weight": beta_1.detach().mean(),
                "background_weight": beta_2.detach().mean(),
            }
            if not self.weight_gradient:
                beta_1, beta_2 = beta_1.detach(), beta_2.detach()
            return (
                self.lambda_mask * mask_term.mean()
                + self.lambda_foreground * (beta_1 * foreground_term).mean()
                + self.lambda_background * (beta_2 * background_term).mean()
                + self.lambda_complementary * complementary_term
            )

    def extra_repr(self) -> str:
        """Name the factors."""
        names = ("lambda_mask", "lambda_foreground", "lambda_background", "lambda_complementary", "weight_gradient")
        return ", ".join(f"{name}={getattr(self, name)}" for name in (*names, "lambda_ce", "class_balance"))


def check_regions(input: Any, target: Tensor) -> None:
    """Raise unless ``input`` has the four maps, each of the size of ``target``."""
    check_target("target", target)
    for name in ("mask", "foreground", "background", "uncertainty"):
        if not hasattr(input, name):
            raise TypeError(
                f"input must have mask, foreground, background and uncertainty, got {type(input).__name__} without "
                f"{name}; ConDSeg returns all four in train mode"
            )
        value = getattr(input, name)
        if name == "mask" and isinstance(value, Tensor) and value.ndim == 4 and value.shape[1] > 1:
            check_floating("input.mask", value, channels=None)
            check_class_target("target", target, "input.mask", value)
            continue
        check_floating(f"input.{name}", value)
        check_same_shape(f"input.{name}", value, "target", target)

"""Loss of stage 2: the mask, its decoupled regions, and their complementarity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from condseg_monai.losses._common import Terms, check_logits, check_number, check_target, full_precision
from condseg_monai.losses.complementary import complementary_loss
from condseg_monai.losses.mask import mask_loss
from condseg_monai.losses.region_weighting import region_weight

__all__ = ["ConDSegLoss"]


class ConDSegLoss(nn.Module):
    """Loss of stage 2: mask, foreground and background losses, and the complementary loss of the regions.

    Source: ConDSeg (AAAI 2025), Eq. 15: ``mask_loss(mask) + beta_1 mask_loss(foreground) + beta_2 mask_loss(background,
    1 - target) + complementary_loss``, where beta is :func:`region_weight` (Eq. 9) of each image and the region
    probabilities of the last term are the softmax over the three regions' logits (Eq. 8). Of several classes, all that
    is not background is foreground.

    After each call ``terms`` holds detached scalars, averaged over the images: the unweighted losses ``mask``,
    ``foreground``, ``background`` and ``complementary``, and beta_1 and beta_2 as ``foreground_weight`` and
    ``background_weight``.

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
        self.lambda_mask = check_number("lambda_mask", lambda_mask, "[0, inf)")
        self.lambda_foreground = check_number("lambda_foreground", lambda_foreground, "[0, inf)")
        self.lambda_background = check_number("lambda_background", lambda_background, "[0, inf)")
        self.lambda_complementary = check_number("lambda_complementary", lambda_complementary, "[0, inf)")
        self.ceiling = check_number("ceiling", ceiling, "(1, inf)")
        self.weight_gradient = weight_gradient
        self.lambda_ce = check_number("lambda_ce", lambda_ce, "[0, inf)")
        self.class_balance = check_number("class_balance", class_balance, "[0, 1]")
        self.terms: Terms = {}

    def forward(self, input: Any, target: Tensor) -> Tensor:
        """Compute the loss, a float32 (or float64) scalar, averaged over images.

        Args:
            input: the network's train-mode output (``ConDSegOutput``): logits ``mask``, ``(B, C, H, W)``, and
                ``foreground``, ``background`` and ``uncertainty``, each ``(B, 1, H, W)``.
            target: ``(B, 1, H, W)``, as :func:`mask_loss` takes it.

        Raises:
            TypeError: if ``input`` lacks one of the four, a map is not floating point, or ``target`` is not real.
            ValueError: if a shape is not as above, or, on the CPU, ``target`` has values that are no class numbers.
        """
        self.terms = {}  # a call that fails leaves none
        with full_precision(*check_regions(input, target), target) as tensors:
            mask, foreground, background, uncertainty, labels = tensors
            mask_term = mask_loss(mask, labels, "none", self.lambda_ce, self.class_balance)
            if mask.shape[1] > 1:
                labels = (labels > 0).to(labels)
            foreground_term = mask_loss(foreground, labels, "none")
            background_term = mask_loss(background, 1 - labels, "none")
            complementary_term = complementary_loss(torch.cat([foreground, background, uncertainty], 1).softmax(dim=1))
            beta_1, beta_2 = region_weight(foreground, self.ceiling), region_weight(background, self.ceiling)
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


def check_regions(input: Any, target: Tensor) -> list[Tensor]:
    """Return the four maps, mask, foreground, background and uncertainty, or raise unless each fits the target."""
    maps = []
    for name in ("mask", "foreground", "background", "uncertainty"):
        if not hasattr(input, name):
            raise TypeError(
                f"input must have mask, foreground, background and uncertainty, got {type(input).__name__} without "
                f"{name}; ConDSeg returns all four in train mode"
            )
        maps.append(getattr(input, name))
        check_logits(f"input.{name}", maps[-1], channels=None if name == "mask" else 1)
        check_target(target, f"input.{name}", maps[-1])
    return maps

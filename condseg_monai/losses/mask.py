"""Mask loss: cross-entropy plus Dice, per image, of a binary mask or of several classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai.losses._common import check_logits, check_number, check_target, full_precision

__all__ = ["MaskLoss", "mask_loss"]

SMOOTH = 1e-5  # decides 0 / 0 in the Dice term: an empty prediction of an empty mask costs nothing


def mask_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", lambda_ce: float = 1.0, balance: float = 0.0
) -> Tensor:
    """Add cross-entropy and Dice, both taken per image and then averaged.

    Source: ConDSeg (AAAI 2025), Eq. 2-4. For C classes, the sum of Eq. 2 over two outcomes becomes one over C, and
    Eq. 3 is averaged over the classes an image has, background included.

    Args:
        input: ``(B, 1, H, W)`` logits of a binary mask, or ``(B, C, H, W)`` of C >= 2 classes. Computed in float32
            (float64 stays), autocast or not.
        target: ``(B, 1, H, W)``, any real type: in [0, 1], or class numbers 0 (background) to C - 1.
        reduction: ``"mean"`` over the images, ``"sum"``, or ``"none"`` for ``(B,)``.
        lambda_ce: factor of the cross-entropy; the paper's is 1. A smaller one segments doubtful lesions larger.
        balance: in [0, 1]: in the cross-entropy each of the n pixels of a class in an image weighs ``n ** -balance``.
            0: all pixels alike, as in Eq. 2; 1: all classes of the image alike. A binary ``target`` between 0 and 1
            counts for both classes in these shares.

    Returns:
        Scalar, or ``(B,)``, >= 0: 0 for a certain and right prediction. Finite for finite logits, empty masks included.

    Raises:
        TypeError: if ``input`` is not floating point, or ``target`` is not real.
        ValueError: if a shape, a number or, on the CPU, a class number is out of range.

    Example:
        >>> import torch
        >>> target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
        >>> round(mask_loss(torch.zeros(1, 1, 2, 2), target).item(), 4)  # log 2 + 1 / 2
        1.1931
        >>> round(mask_loss(torch.zeros(1, 2, 2, 2), target).item(), 4)  # the same, over both classes
        1.1931
    """
    check_logits("input", input)
    check_target(target, "input", input)
    _check_arguments(reduction, lambda_ce, balance)
    with full_precision(input, target) as (logits, labels):
        if logits.shape[1] == 1:
            members = labels
            cross_entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
            dice = _dice(logits.sigmoid(), members)[:, 0]
        else:
            members = (labels == torch.arange(logits.shape[1], device=logits.device).reshape(1, -1, 1, 1)).to(logits)
            cross_entropy = F.cross_entropy(logits, labels[:, 0].long(), reduction="none").unsqueeze(1)
            present = members.amax(dim=(2, 3))  # absent classes would dilute the Dice of the few an image has
            dice = (present * _dice(logits.softmax(dim=1), members)).sum(dim=1) / present.sum(dim=1)
        per_image = lambda_ce * _pixel_mean(cross_entropy, members, balance) + dice
        return {"mean": per_image.mean(), "sum": per_image.sum(), "none": per_image}[reduction]


def _dice(probs: Tensor, members: Tensor) -> Tensor:
    """Eq. 3 of each class, ``(B, C)``; over a batch it would depend on the batch size, and large lesions hide small."""
    intersection = (probs * members).sum(dim=(2, 3))
    total = probs.sum(dim=(2, 3)) + members.sum(dim=(2, 3))
    return 1 - (2 * intersection + SMOOTH) / (total + SMOOTH)


def _pixel_mean(losses: Tensor, members: Tensor, balance: float) -> Tensor:
    """Mean ``(B,)`` of ``(B, 1, H, W)``, the n pixels of a class weighing ``n ** -balance`` each."""
    if balance == 0:
        return losses.mean(dim=(1, 2, 3))
    if members.shape[1] == 1:
        members = torch.cat([1 - members, members], dim=1)
    sizes = members.sum(dim=(2, 3), keepdim=True).clamp(min=1)  # 0 ** -balance of an absent class would be infinite
    weights = (members * sizes**-balance).sum(dim=1, keepdim=True)
    return (weights * losses).sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3))


def _check_arguments(reduction: str, lambda_ce: float, balance: float) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    check_number("lambda_ce", lambda_ce, "[0, inf)")
    check_number("balance", balance, "[0, 1]")


class MaskLoss(nn.Module):
    """:func:`mask_loss` as a module, with its arguments."""

    def __init__(self, reduction: str = "mean", lambda_ce: float = 1.0, balance: float = 0.0) -> None:
        super().__init__()
        _check_arguments(reduction, lambda_ce, balance)
        self.reduction, self.lambda_ce, self.balance = reduction, lambda_ce, balance

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of logits ``(B, C, H, W)`` against a target ``(B, 1, H, W)``."""
        return mask_loss(input, target, self.reduction, self.lambda_ce, self.balance)

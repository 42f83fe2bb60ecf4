"""Loss of stage 1, Consistency Reinforcement."""

from __future__ import annotations

from torch import Tensor, nn

from condseg_monai.losses._common import (
    Terms,
    check_balance,
    check_class_target,
    check_floating,
    check_target,
    check_threshold,
    check_weight,
)
from condseg_monai.losses.class_consistency import class_consistency_loss
from condseg_monai.losses.class_mask import class_mask_loss
from condseg_monai.losses.consistency import consistency_loss
from condseg_monai.losses.mask import mask_loss

__all__ = ["ConsistencyReinforcementLoss"]


class ConsistencyReinforcementLoss(nn.Module):
    """Loss of stage 1: the mask losses of a clean and an augmented view, and their consistency loss.

    Source: ConDSeg (AAAI 2025), Eq. 7: ``mask_loss(clean) + mask_loss(augmented) +
    consistency_loss(clean, augmented)``. Of several classes (an input of several channels, a target of class numbers)
    the terms are :func:`class_mask_loss` and :func:`class_consistency_loss`.

    After each call ``terms`` holds its three terms (unweighted detached scalars): ``mask_clean``, ``mask_augmented``
    and ``consistency``. Before the first call, or after one that failed, it is empty.

    Args:
        threshold: of :func:`consistency_loss`, in (0, 1); several classes have none.
        lambda_consistency: factor of the consistency term; the paper's is 1.
        lambda_ce: factor of the cross-entropy in both mask terms, as in :func:`mask_loss`.
        class_balance: ``balance`` of the cross-entropy in both mask terms, as in :func:`mask_loss`.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import torch
        >>> loss = ConsistencyReinforcementLoss()
        >>> value = loss(torch.zeros(4, 1, 8, 8), torch.zeros(2, 1, 8, 8))
        >>> {name: round(term.item(), 4) for name, term in loss.terms.items()}
        {'mask_clean': 1.6931, 'mask_augmented': 1.6931, 'consistency': 0.6931}
    """

    def __init__(
        self,
        threshold: float = 0.5,
        lambda_consistency: float = 1.0,
        lambda_ce: float = 1.0,
        class_balance: float = 0.0,
    ) -> None:
        super().__init__()
        self.threshold = check_threshold(threshold)
        self.lambda_consistency = check_weight("lambda_consistency", lambda_consistency)
        self.lambda_ce = check_weight("lambda_ce", lambda_ce)
        self.class_balance = check_balance("class_balance", class_balance)
        self.terms: Terms = {}

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss, a float32 (or float64) scalar, averaged over images.

        Args:
            input: ``(2B, C, H, W)`` logits: the B clean views first, then their augmented views in the same order.
            target: ``(B, 1, H, W)``, any real type, the label of both views: in [0, 1], or, for C >= 2, class numbers 0
                (background) to C - 1.

        Raises:
            TypeError: if ``input`` is not floating point or ``target`` is not real.
            ValueError: if the shapes are not these, or, on the CPU, ``target`` has values that are no class numbers.
        """
        self.terms = {}
        clean, augmented = split_views(input, target)
        several = clean.shape[1] > 1
        of_mask = class_mask_loss if several else mask_loss
        mask_clean, mask_augmented = (
            of_mask(view, target, lambda_ce=self.lambda_ce, balance=self.class_balance) for view in (clean, augmented)
        )
        if several:
            consistency = class_consistency_loss(clean, augmented)
        else:
            consistency = consistency_loss(clean, augmented, threshold=self.threshold)
        self.terms = {
            "mask_clean": mask_clean.detach(),
            "mask_augmented": mask_augmented.detach(),
            "consistency": consistency.detach(),
        }
        return mask_clean + mask_augmented + self.lambda_consistency * consistency

    def extra_repr(self) -> str:
        """Name the factors."""
        names = ("threshold", "lambda_consistency", "lambda_ce", "class_balance")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


def split_views(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Split ``(2B, C, H, W)`` logits into clean and augmented views, each of the size of ``target``, or raise."""
    several = isinstance(input, Tensor) and input.ndim == 4 and input.shape[1] > 1
    check_floating("input", input, channels=None if several else 1)
    check_target("target", target)
    if input.shape[0] != 2 * target.shape[0] or input.shape[2:] != target.shape[2:]:
        raise ValueError(
            f"input must be (2B, {'C' if several else 1}, H, W), clean views then augmented views, for a (B, 1, H, W) "
            f"target, got {tuple(input.shape)} and {tuple(target.shape)}"
        )
    clean, augmented = input.chunk(2)
    if several:
        check_class_target("target", target, "each view of input", clean)
    return clean, augmented

"""Loss of stage 1, Consistency Reinforcement."""

from __future__ import annotations

from torch import Tensor, nn

from condseg_monai.losses._common import Terms, check_logits, check_number, check_target
from condseg_monai.losses.consistency import check_kind, consistency_loss
from condseg_monai.losses.mask import mask_loss

__all__ = ["ConsistencyReinforcementLoss"]


class ConsistencyReinforcementLoss(nn.Module):
    """Loss of stage 1: the mask losses of a clean and an augmented view, and their consistency loss.

    Source: ConDSeg (AAAI 2025), Eq. 7: ``mask_loss(clean) + mask_loss(augmented) +
    consistency_loss(clean, augmented)``, of a binary mask or of several classes. After each call ``terms`` holds the
    three as unweighted detached scalars: ``mask_clean``, ``mask_augmented`` and ``consistency``.

    Args:
        threshold: of :func:`consistency_loss`, in (0, 1); several classes have none.
        lambda_consistency: factor of the consistency term; the paper's is 1.
        lambda_ce: factor of the cross-entropy in both mask terms, as in :func:`mask_loss`.
        class_balance: ``balance`` of the cross-entropy in both mask terms, as in :func:`mask_loss`.
        kind: of :func:`consistency_loss`: ``"bce"``, as in Eq. 6, ``"kl"``, ``"js"`` or ``"mse"``.

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
        kind: str = "bce",
    ) -> None:
        super().__init__()
        self.threshold = check_number("threshold", threshold, "(0, 1)")
        self.lambda_consistency = check_number("lambda_consistency", lambda_consistency, "[0, inf)")
        self.lambda_ce = check_number("lambda_ce", lambda_ce, "[0, inf)")
        self.class_balance = check_number("class_balance", class_balance, "[0, 1]")
        self.kind = check_kind(kind)
        self.terms: Terms = {}

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss, a float32 (or float64) scalar, averaged over images.

        Args:
            input: ``(2B, C, H, W)`` logits: the B clean views first, then their augmented views in the same order.
            target: ``(B, 1, H, W)``, the label of both views, as :func:`mask_loss` takes it.

        Raises:
            TypeError: if ``input`` is not floating point or ``target`` is not real.
            ValueError: if the shapes are not these, or, on the CPU, ``target`` has values that are no class numbers.
        """
        self.terms = {}  # a call that fails leaves none
        clean, augmented = split_views(input, target)
        mask_clean, mask_augmented = (
            mask_loss(view, target, lambda_ce=self.lambda_ce, balance=self.class_balance) for view in (clean, augmented)
        )
        consistency = consistency_loss(clean, augmented, self.threshold, self.kind)
        self.terms = {
            "mask_clean": mask_clean.detach(),
            "mask_augmented": mask_augmented.detach(),
            "consistency": consistency.detach(),
        }
        return mask_clean + mask_augmented + self.lambda_consistency * consistency


def split_views(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Split ``(2B, C, H, W)`` logits into clean and augmented views, each of the size of ``target``, or raise."""
    check_logits("input", input)
    if len(input) % 2:
        raise ValueError(f"input must be (2B, C, H, W), clean views then augmented views, got {tuple(input.shape)}")
    clean, augmented = input.chunk(2)
    check_target(target, "each of the two views of input", clean)
    return clean, augmented

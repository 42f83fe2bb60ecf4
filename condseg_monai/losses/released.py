"""Losses of the released ConDSeg code, for reproducing published runs; otherwise not for use.

They take logits of a binary mask, and differ from the paper and from this package's own losses in this:

- the mask loss applies the sigmoid twice;
- Dice is taken over the flattened batch, with a smoothing of 1;
- the consistency loss has no factor 1/2 (and the released one counts a probability of exactly the threshold as
  background, which this one does not);
- beta (Eq. 9) sums the probabilities of the whole batch and divides by the pixels of one image, so it depends on the
  batch size, and has no ceiling: it is 1.0 to 1.4 at the released batches of 8 to 12, where that of single images is 6
  to 50 as long as little is predicted;
- the softmax of the regions is taken over their sigmoid maps.

Computed in float32 (float64 stays), whatever the autocast state.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai.losses._common import Terms, full_precision
from condseg_monai.losses.complementary import complementary_loss
from condseg_monai.losses.condseg import check_regions
from condseg_monai.losses.consistency_reinforcement import split_views

__all__ = ["ReleasedConDSegLoss", "ReleasedConsistencyReinforcementLoss"]


class ReleasedConsistencyReinforcementLoss(nn.Module):
    """The released loss of stage 1, with the ``terms`` of ``ConsistencyReinforcementLoss``.

    Example:
        >>> import torch
        >>> loss = ReleasedConsistencyReinforcementLoss()
        >>> value = loss(torch.zeros(4, 1, 8, 8), torch.zeros(2, 1, 8, 8))
        >>> {name: round(term.item(), 4) for name, term in loss.terms.items()}
        {'mask_clean': 1.9617, 'mask_augmented': 1.9617, 'consistency': 1.3863}
    """

    def __init__(self) -> None:
        super().__init__()
        self.terms: Terms = {}

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(2B, 1, H, W)`` logits, clean views first, against a ``(B, 1, H, W)`` target."""
        self.terms = {}
        _check_binary(input)
        with full_precision(*split_views(input, target), target) as (clean, augmented, labels):
            clean, augmented = clean.sigmoid(), augmented.sigmoid()
            mask_clean, mask_augmented = _mask_loss(clean, labels), _mask_loss(augmented, labels)
            consistency = _consistency_loss(clean, augmented)
            self.terms = {
                "mask_clean": mask_clean.detach(),
                "mask_augmented": mask_augmented.detach(),
                "consistency": consistency.detach(),
            }
            return mask_clean + mask_augmented + consistency


class ReleasedConDSegLoss(nn.Module):
    """The released loss of stage 2, with the ``terms`` of ``ConDSegLoss``."""

    def __init__(self) -> None:
        super().__init__()
        self.terms: Terms = {}

    def forward(self, input: Any, target: Tensor) -> Tensor:
        """Compute the loss of four ``(B, 1, H, W)`` logit maps against a ``(B, 1, H, W)`` target."""
        self.terms = {}
        _check_binary(getattr(input, "mask", None))
        with full_precision(*check_regions(input, target), target) as (*logits, labels):
            mask, foreground, background, uncertainty = (tensor.sigmoid() for tensor in logits)
            terms = {
                "mask": _mask_loss(mask, labels),
                "foreground": _mask_loss(foreground, labels),
                "background": _mask_loss(background, 1 - labels),
                "complementary": complementary_loss(torch.cat([foreground, background, uncertainty], 1).softmax(dim=1)),
                "foreground_weight": _region_weight(foreground),
                "background_weight": _region_weight(background),
            }
            self.terms = {name: term.detach() for name, term in terms.items()}
            return (
                terms["mask"]
                + terms["foreground_weight"] * terms["foreground"]
                + terms["background_weight"] * terms["background"]
                + terms["complementary"]
            )


def _check_binary(logits: Any) -> None:
    if isinstance(logits, Tensor) and logits.ndim == 4 and logits.shape[1] > 1:
        raise ValueError(
            f"the released losses are of binary masks, and the network has {logits.shape[1]} classes: leave "
            "class_names out, or train with the losses of the paper"
        )


def _mask_loss(probs: Tensor, labels: Tensor) -> Tensor:
    squashed = probs.sigmoid()  # the second sigmoid: all of it lies in [0.5, 0.731]
    dice = 1 - (2 * (squashed * labels).sum() + 1) / (squashed.sum() + labels.sum() + 1)
    return F.binary_cross_entropy(squashed, labels) + dice


def _consistency_loss(clean: Tensor, augmented: Tensor) -> Tensor:
    clean_mask, augmented_mask = (clean >= 0.5).to(clean), (augmented >= 0.5).to(augmented)
    return F.binary_cross_entropy(clean, augmented_mask) + F.binary_cross_entropy(augmented, clean_mask)


def _region_weight(probs: Tensor) -> Tensor:
    pixels = probs.shape[-2] * probs.shape[-1]
    return 1 / (torch.tanh(probs.sum() / pixels) + 1e-15)

"""Loss of Med-DisSeg, in both stages: ConDSeg's, and a dispersive term on the encoder's maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from condseg_monai.losses._common import Terms, check_number
from condseg_monai.losses.dispersive import DispersiveLoss

__all__ = ["MedDisSegLoss"]

_LAYERS = {"early": (0,), "mid": (1, 2), "late": (3,), "all": (0, 1, 2, 3)}


class MedDisSegLoss(nn.Module):
    """Add a dispersive term to the loss of a stage.

    Source: Med-DisSeg: ``loss + dispersive_weight * dispersive(features)``. In stage 1 the term is the sum of those of
    the two views, as released: the views of one image, which should agree, are not separated. Of several maps it is the
    mean. After each call ``terms`` holds those of ``loss`` and the unweighted ``dispersive``.

    Args:
        loss: the stage's own: :class:`~condseg_monai.ConsistencyReinforcementLoss`, which gets the mask's
            logits, or :class:`~condseg_monai.ConDSegLoss`, which gets the whole output.
        dispersive: the loss of the features; None for the default :class:`~condseg_monai.DispersiveLoss`.
        dispersive_weight: factor of the dispersive term; 0.2 in both stages of the released code. Med-DisSeg's figure
            of its parameters settles on 0.6, and on a temperature of 0.8 where the code has 0.5. At random weights
            ``"infonce_l2"`` has at 0.2 a larger gradient on the encoder than the mask loss.
        layer: which of the encoder's four maps: ``"early"``, the finest; ``"mid"``, the two between; ``"late"``, the
            deepest, as released; or ``"all"``. Med-DisSeg compares these four and does not say which maps they are.

    Raises:
        ValueError: if ``dispersive_weight`` is negative or not finite, or ``layer`` is unknown.

    Example:
        >>> from condseg_monai import ConsistencyReinforcementLoss
        >>> from condseg_monai.networks.nets import MedDisSegStage1Output
        >>> loss = MedDisSegLoss(ConsistencyReinforcementLoss())
        >>> output = MedDisSegStage1Output(torch.zeros(4, 1, 8, 8), [torch.eye(4)] * 4)
        >>> value = loss(output, torch.zeros(2, 1, 8, 8))
        >>> {name: round(term.item(), 4) for name, term in loss.terms.items()}  # d = 1 - 0
        {'mask_clean': 1.6931, 'mask_augmented': 1.6931, 'consistency': 0.6931, 'dispersive': -4.0}
    """

    def __init__(
        self,
        loss: nn.Module,
        dispersive: DispersiveLoss | None = None,
        dispersive_weight: float = 0.2,
        layer: str = "late",
    ) -> None:
        super().__init__()
        if layer not in _LAYERS:
            raise ValueError(f"layer must be one of {', '.join(_LAYERS)}, got {layer!r}")
        self.layer = layer
        self.loss = loss
        self.dispersive = DispersiveLoss() if dispersive is None else dispersive
        self.dispersive_weight = check_number("dispersive_weight", dispersive_weight, "[0, inf)")
        self.terms: Terms = {}

    def forward(self, input: Any, target: Tensor) -> Tensor:
        """Compute the loss, a float32 (or float64) scalar.

        Args:
            input: the network's train-mode output: logits ``mask``, in stage 2 those of the three regions, and
                ``features``, four maps ``(B, C, H', W')``, in stage 1 ``(2B, C, H', W')``, clean views first.
            target: ``(B, 1, H, W)``, as ``loss`` takes it.

        Raises:
            TypeError: if ``input`` has no ``features``.
            ValueError: if the features are not of whole views of the target's images, or as ``loss`` raises it.
        """
        self.terms = {}  # a call that fails leaves none
        if not hasattr(input, "features"):
            raise TypeError(
                f"input must have features, got {type(input).__name__} without; MedDisSeg and MedDisSegStage1 return "
                "them in train mode"
            )
        images = len(input.features[0])
        views, rest = divmod(images, len(target))
        if rest or views == 0:
            raise ValueError(f"input.features must be whole views of the {len(target)} images of target, got {images}")
        value = self.loss(input if hasattr(input, "foreground") else input.mask, target)
        levels = _LAYERS[self.layer]
        parts = [view for level in levels for view in input.features[level].chunk(views)]
        dispersive = torch.stack([self.dispersive(part) for part in parts]).sum() / len(levels)
        self.terms = {**getattr(self.loss, "terms", {}), "dispersive": dispersive.detach()}
        return value + self.dispersive_weight * dispersive

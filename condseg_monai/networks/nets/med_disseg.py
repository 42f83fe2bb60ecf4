"""Med-DisSeg: ConDSeg with TeLU, CBAT decoders, and features that a dispersive loss spreads; both stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from condseg_monai.networks.nets.condseg import ConDSeg
from condseg_monai.networks.nets.condseg_stage1 import ConDSegStage1

__all__ = ["MedDisSeg", "MedDisSegOutput", "MedDisSegStage1", "MedDisSegStage1Output", "med_disseg_network"]


class MedDisSegOutput(NamedTuple):
    """The logits of one training step, all at the size of the input, and the maps behind them."""

    mask: Tensor  # (B, out_channels, H, W)
    foreground: Tensor  # (B, 1, H, W), as are the other regions
    background: Tensor
    uncertainty: Tensor
    features: Sequence[Tensor]  # the encoder's four maps, fine to coarse, for the dispersive loss


class MedDisSegStage1Output(NamedTuple):
    """The logits of one training step of stage 1 and the maps behind them."""

    mask: Tensor  # (B, out_channels, H, W)
    features: Sequence[Tensor]  # the encoder's four maps, fine to coarse, for the dispersive loss


class MedDisSegStage1(ConDSegStage1):
    """Med-DisSeg's first stage, whose encoder starts :class:`MedDisSeg`.

    Source: Med-DisSeg. It is :class:`~condseg_monai.ConDSegStage1` with ``act="telu"`` and ``elat=True``,
    whose other arguments, sizes and errors it has. In training mode it returns :class:`MedDisSegStage1Output`.

    Example:
        >>> MedDisSegStage1(encoder="resnet18").eval()(torch.rand(2, 3, 50, 70)).shape
        torch.Size([2, 1, 50, 70])
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 1, *, act: str = "telu", elat: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(in_channels, out_channels, act=act, elat=elat, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to mask logits ``(B, out_channels, H, W)``, in training mode with the features."""
        logits, features = self._forward_mask(x)
        if not torch.jit.is_scripting() and self.training:
            return cast(Tensor, MedDisSegStage1Output(logits, features))
        return logits


class MedDisSeg(ConDSeg):
    """Med-DisSeg's second stage.

    Source: Med-DisSeg. It is :class:`~condseg_monai.ConDSeg` with ``act="telu"`` and ``cbat=True``, whose
    other arguments, sizes, errors and initial weights it has. In training mode it returns :class:`MedDisSegOutput`.
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 1, *, act: str = "telu", cbat: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(in_channels, out_channels, act=act, cbat=cbat, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to mask logits ``(B, out_channels, H, W)``, in training mode with regions and features."""
        if not torch.jit.is_scripting() and self.training:
            output, features = self._forward_regions(x)
            return cast(Tensor, MedDisSegOutput(*output, features))
        mask, _, _, _ = self._forward_mask(x)
        return mask


def med_disseg_network(stage: int, elat: bool = True, cbat: bool = True) -> Callable[..., MedDisSegStage1 | MedDisSeg]:
    """The network of a stage, to be called with its other arguments: a config has the same for both stages.

    Args:
        stage: 1 or 2.
        elat: of stage 1, see :class:`MedDisSegStage1`.
        cbat: of stage 2, see :class:`MedDisSeg`.
    """
    return partial(MedDisSegStage1, elat=elat) if stage == 1 else partial(MedDisSeg, cbat=cbat)

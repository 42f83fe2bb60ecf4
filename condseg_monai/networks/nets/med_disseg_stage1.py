"""Med-DisSeg's first-stage network: the encoder under a light head with TeLU and ELAT."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from condseg_monai.networks.nets.condseg_stage1 import ConDSegStage1

__all__ = ["MedDisSegStage1", "MedDisSegStage1Output"]


class MedDisSegStage1Output(NamedTuple):
    """The logits of one training step and the features behind them."""

    mask: Tensor
    """``(B, out_channels, H, W)``"""
    features: Tensor
    """``(B, C, H / stride, W / stride)``: the encoder's deepest map, for the dispersive loss."""


class MedDisSegStage1(ConDSegStage1):
    """The network whose encoder starts :class:`~condseg_monai.networks.MedDisSeg`.

    Source: Med-DisSeg. It is :class:`~condseg_monai.networks.ConDSegStage1` with ``act="telu"`` and ``elat=True``,
    whose arguments it takes. In training mode it returns :class:`MedDisSegStage1Output`, what
    :class:`~condseg_monai.losses.MedDisSegLoss` takes; in evaluation mode mask logits.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the mask.
        act: activation of the head.
        elat: whether each level ends in :class:`~condseg_monai.networks.blocks.ELAT`.
        **kwargs: the other arguments of :class:`~condseg_monai.networks.ConDSegStage1`.

    Example:
        >>> MedDisSegStage1(encoder="resnet18").eval()(torch.rand(2, 3, 50, 70)).shape
        torch.Size([2, 1, 50, 70])
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 1, *, act: str = "telu", elat: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(in_channels, out_channels, act=act, elat=elat, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """Segment images.

        Args:
            x: ``(B, in_channels, H, W)``, normalised as the weights expect.

        Returns:
            In training mode, :class:`MedDisSegStage1Output`; in evaluation mode, mask logits
            ``(B, out_channels, H, W)``.

        Raises:
            ValueError: if ``x`` is not such a tensor, or H or W is under 16.
        """
        logits, features = self._forward_mask(x)
        if not torch.jit.is_scripting() and self.training:
            return cast(Tensor, MedDisSegStage1Output(logits, features))
        return logits

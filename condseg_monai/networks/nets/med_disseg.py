"""Med-DisSeg: ConDSeg with TeLU, CBAT decoders, and features that a dispersive loss spreads."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from condseg_monai.networks.nets.condseg import ConDSeg

__all__ = ["MedDisSeg", "MedDisSegOutput"]


class MedDisSegOutput(NamedTuple):
    """The logits of one training step, all at the size of the input, and the features behind them."""

    mask: Tensor
    """``(B, out_channels, H, W)``"""
    foreground: Tensor
    """``(B, 1, H, W)``"""
    background: Tensor
    """``(B, 1, H, W)``"""
    uncertainty: Tensor
    """``(B, 1, H, W)``"""
    features: Tensor
    """``(B, C, H / stride, W / stride)``: the encoder's deepest map, for the dispersive loss."""


class MedDisSeg(ConDSeg):
    """Med-DisSeg's second-stage network.

    Source: Med-DisSeg. It is :class:`~condseg_monai.networks.ConDSeg` with ``act="telu"`` and ``cbat=True``, whose
    arguments it takes, and whose sizes, errors and initial weights it has. In training mode it returns
    :class:`MedDisSegOutput`, what :class:`~condseg_monai.losses.MedDisSegLoss` takes; in evaluation mode mask logits.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the mask.
        act: activation of the convolutions after the encoder.
        cbat: whether the three decoders end in :class:`~condseg_monai.networks.blocks.CBAM`.
        **kwargs: the other arguments of :class:`~condseg_monai.networks.ConDSeg`.

    Example:
        >>> network = MedDisSeg(encoder="resnet18", decoder_channels=16)
        >>> network(torch.rand(2, 3, 48, 80)).features.shape
        torch.Size([2, 256, 3, 5])
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 1, *, act: str = "telu", cbat: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(in_channels, out_channels, act=act, cbat=cbat, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """Segment images, as :meth:`ConDSeg.forward` does.

        Args:
            x: ``(B, in_channels, H, W)``, normalised as the weights expect.

        Returns:
            In training mode, :class:`MedDisSegOutput`; in evaluation mode, mask logits ``(B, out_channels, H, W)``.

        Raises:
            ValueError: if ``x`` is not such a tensor, or H or W is under 16.
        """
        if not torch.jit.is_scripting() and self.training:
            output, features = self._forward_regions(x)
            return cast(Tensor, MedDisSegOutput(*output, features))
        mask, _, _, _ = self._forward_mask(x)
        return mask

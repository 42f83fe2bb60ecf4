"""DEC-Seg's generator: an image from a prediction."""

from __future__ import annotations

from torch import Tensor, nn

from condseg_monai.networks.nets.padding import crop, pad_to_multiple

__all__ = ["ImageGenerator"]

_WIDTHS = (16, 32, 64, 128, 256)
_DROPOUTS = (0.05, 0.1, 0.2, 0.3, 0.5)  # of the way down; none on the way up


class ImageGenerator(nn.Module):
    """A U-shaped network without skip connections that draws an image from the logits of its segmentation.

    Source: DEC-Seg, "Cross-generative Consistency". Any size will do: the logits are padded inside to multiples of 16,
    and the image is cropped.

    Example:
        >>> ImageGenerator(in_channels=1).eval()(torch.zeros(2, 1, 40, 50)).shape
        torch.Size([2, 3, 40, 50])
    """

    def __init__(self, in_channels: int = 1, out_channels: int = 3) -> None:
        super().__init__()
        if in_channels < 1 or out_channels < 1:
            raise ValueError(f"in_channels and out_channels must be positive, got {in_channels} and {out_channels}")
        self.input = _double_conv(in_channels, _WIDTHS[0], _DROPOUTS[0])
        self.downs = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), _double_conv(_WIDTHS[i], _WIDTHS[i + 1], _DROPOUTS[i + 1])) for i in range(4)
        )
        self.ups = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(_WIDTHS[i + 1], _WIDTHS[i], kernel_size=2, stride=2),
                _double_conv(_WIDTHS[i], _WIDTHS[i], 0.0),
            )
            for i in (3, 2, 1, 0)
        )
        self.output = nn.Conv2d(_WIDTHS[0], out_channels, kernel_size=3, padding=1)

    def forward(self, logits: Tensor) -> Tensor:
        """Map logits ``(B, in_channels, H, W)`` to an image ``(B, out_channels, H, W)`` in about [0, 1]."""
        if logits.ndim != 4:
            raise ValueError(f"logits must be (B, C, H, W), got {tuple(logits.shape)}")
        x = self.input(pad_to_multiple(logits, 16))
        for down in self.downs:
            x = down(x)
        for up in self.ups:
            x = up(x)
        return crop(self.output(x), logits)


def _double_conv(in_channels: int, out_channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(),
    )

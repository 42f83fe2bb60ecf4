"""Colour augmentation: the strong one of ConDSeg's first stage, the weak one of DEC-Seg's unlabelled images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ColorPerturbation", "StrongColorAugmentation"]


class StrongColorAugmentation(nn.Module):
    """Change the colours and sharpness of images strongly, and their geometry not at all.

    Of one grey channel it changes the brightness, the contrast and the sharpness; there is no hue and no saturation.

    Source: ConDSeg (AAAI 2025), "Consistency Reinforcement"; strengths of the released code. Every image of a batch
    gets its own strengths (the released code draws them once a batch), from torch's global CPU generator. Gradients do
    not flow through. The released blur kernel is (1, 7), width and height, which blurs vertically only; here it
    is 7 x 7, as the paper reads.

    Factors are drawn from ``[1 - brightness, 1 + brightness]``, likewise contrast and saturation; shifts from ``[-hue,
    hue]``, in turns of the colour circle, at most 0.5. ``blur_kernel`` is odd, in pixels, ``(height, width)`` or one
    number; ``blur_sigma`` a positive range. Both are for images of 256 pixels, and scale with ``image_size``.
    """

    def __init__(
        self,
        brightness: float = 0.3,
        contrast: float = 0.3,
        saturation: float = 0.3,
        hue: float = 0.1,
        grayscale_probability: float = 0.5,
        blur_kernel: int | tuple[int, int] = 7,
        blur_sigma: tuple[float, float] = (0.1, 3.0),
        image_size: int = 256,
    ) -> None:
        # Not at the top: it takes 20 MB, and inference needs none of it.
        from kornia.augmentation import ColorJitter, RandomGaussianBlur, RandomGrayscale

        super().__init__()
        kernel = (blur_kernel, blur_kernel) if isinstance(blur_kernel, int) else tuple(blur_kernel)
        if len(kernel) != 2 or any(size < 1 or size % 2 == 0 for size in kernel):
            raise ValueError(f"blur_kernel must be odd, got {blur_kernel}")
        if not 0 < blur_sigma[0] <= blur_sigma[1]:
            raise ValueError(f"blur_sigma must be positive and ascending, got {blur_sigma}")
        scale = image_size / 256
        height, width = (2 * round(size // 2 * scale) + 1 for size in kernel)
        self.augment = nn.Sequential(
            ColorJitter(brightness, contrast, saturation, hue, p=1.0),
            RandomGrayscale(p=grayscale_probability),
            RandomGaussianBlur((height, width), (scale * blur_sigma[0], scale * blur_sigma[1]), p=1.0),
        )

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Augment ``(B, C, H, W)``, RGB or grey in [0, 1], H and W at least half the kernel, to ``float32``."""
        return _apply(self.augment, images)


class ColorPerturbation(nn.Module):
    """Change the brightness and the hue of images a little, with the ranges of :class:`StrongColorAugmentation`.

    Source: DEC-Seg, strengths of the released training. Every image gets its own, from torch's global CPU generator.
    Gradients do not flow through.

    Example:
        >>> ColorPerturbation()(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """

    def __init__(self, brightness: float = 0.2, hue: float = 0.05) -> None:
        from kornia.augmentation import ColorJitter  # as in StrongColorAugmentation

        super().__init__()
        self.jitter = ColorJitter(brightness=brightness, hue=hue, p=1.0)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Perturb ``(B, C, H, W)``, RGB or grey in [0, 1], B may be 0, to ``float32`` in [0, 1]."""
        return _apply(self.jitter, images)


def _apply(augment: nn.Module, images: Tensor) -> Tensor:
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images must be (B, C, H, W) of 1 or 3 channels, got {tuple(images.shape)}")
    if images.shape[1] == 1:  # grey in three channels stays grey, whatever becomes of its hue and saturation
        return _apply(augment, images.expand(-1, 3, -1, -1))[:, :1]
    if len(images) == 0:
        return images.float()
    with torch.autocast(images.device.type, enabled=False):
        return augment(images.float()).clamp(0.0, 1.0)

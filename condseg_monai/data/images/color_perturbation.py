"""The weak colour perturbation of DEC-Seg's unlabelled images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ColorPerturbation"]


class ColorPerturbation(nn.Module):
    """Change the brightness and the hue of images a little, and nothing else.

    Source: DEC-Seg, strengths of the released training. Every image of a batch gets its own; draws come from torch's
    global CPU generator, so ``torch.manual_seed`` repeats them on any device. Gradients do not flow through.

    Args:
        brightness: factors are drawn from ``[1 - brightness, 1 + brightness]``.
        hue: shifts are drawn from ``[-hue, hue]``, in turns of the colour circle; at most 0.5.

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
        """Perturb a batch.

        Args:
            images: ``(B, 3, H, W)`` RGB in [0, 1], on any device; B may be 0.

        Returns:
            ``(B, 3, H, W)`` in [0, 1], ``float32`` also under autocast, on the same device.

        Raises:
            ValueError: if ``images`` has another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), got {tuple(images.shape)}")
        if images.shape[0] == 0:
            return images.float()
        with torch.autocast(images.device.type, enabled=False):
            return self.jitter(images.float()).clamp(0.0, 1.0)

"""Grad-CAM of a binary mask: where a feature map speaks for the lesion."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["lesion_cam"]


def lesion_cam(network: nn.Module, layer: str = "output.conv2") -> Callable[[Tensor], Tensor]:
    """Make MONAI's ``GradCAM`` of the mask's logit, summed over its pixels.

    Source: R. R. Selvaraju et al., "Grad-CAM" (2017); ConDSeg draws it near the output, in Figure 3.

    Args:
        network: of one channel; it gets hooks that stay.
        layer: the name of the module whose output is weighed: the default is of :class:`~condseg_monai.ConDSeg`.

    Returns:
        A function of images ``(B, in_channels, H, W)``. It returns ``(B, 1, H, W)`` float32, each map divided by its
        maximum, in evaluation mode and with gradients, whatever the caller has.

    Raises:
        ValueError: if the network has no such module.
    """
    from monai.visualize import GradCAM  # a second, which only those who ask for it wait

    if layer not in dict(network.named_modules()):
        raise ValueError(
            f"gradcam_layer must name a module of {type(network).__name__}, as output.conv2 does of ConDSeg, got "
            f"{layer!r}"
        )
    cam = GradCAM(network, layer, postprocessing=_divide_by_maximum)

    def compute(images: Tensor) -> Tensor:
        with torch.enable_grad():
            maps = cam(images.as_subclass(Tensor).float(), class_idx=0)
        return maps.detach()

    return compute


def _divide_by_maximum(maps: Tensor) -> Tensor:
    return maps / maps.amax(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)

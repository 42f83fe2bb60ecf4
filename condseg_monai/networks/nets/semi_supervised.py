"""Semi-supervised student network: labelled, unlabelled and perturbed images in one pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai.networks.nets.dec_seg import down_scale_size
from condseg_monai.networks.nets.image_generator import ImageGenerator

__all__ = ["SemiSupervisedNetwork", "SemiSupervisedOutput", "mask_logits"]

_DOWN_STRIDE = 32


class SemiSupervisedOutput(NamedTuple):
    """One training step of L labelled and U unlabelled images; logits are ``(..., out_channels, H, W)``."""

    labeled: Any  # the student's own train-mode output for the L labelled images: what its supervised loss takes
    scales: list[tuple[Tensor, Tensor]]  # full and, upsampled, down scale: of labelled, unlabelled and perturbed images
    clean: list[Tensor]  # of the U clean unlabelled images, one tensor per mask that the student predicts
    perturbed: list[Tensor]  # likewise, of their perturbed copies
    rebuilt: list[tuple[Tensor, Tensor]]  # what a generator drew, and the images (U, C, H, W) it should have drawn


class SemiSupervisedNetwork(nn.Module):
    """A student and, if wanted, two generators, so that trainer, optimizer, checkpoint and DDP see one network.

    Source: DEC-Seg, its framework figure. The first generator rebuilds the perturbed image from the clean image's mask
    logits, the second the clean image from the perturbed one's. A student without ``full_scale`` and ``down_scale`` in
    its output sees all images a second time at half the size. In evaluation mode this is the student.

    Args:
        student: a network whose train-mode output is a tensor of mask logits, or has them as ``.mask``.
        out_channels: channels of the student's mask logits.
        in_channels: channels of its images.
        scales: whether scale consistency is asked for.
        generative: whether there are generators.

    Example:
        >>> network = SemiSupervisedNetwork(nn.Conv2d(3, 1, 3, padding=1)).train()
        >>> import torch
        >>> output = network(torch.rand(5, 3, 64, 64), labeled=1)  # one labelled, two unlabelled, these perturbed
        >>> output.labeled.shape[0], len(output.scales), output.perturbed[0].shape[0]
        (1, 3, 2)
    """

    def __init__(
        self,
        student: nn.Module,
        out_channels: int = 1,
        in_channels: int = 3,
        scales: bool = True,
        generative: bool = True,
    ) -> None:
        super().__init__()
        self.student = student
        self.scales = scales
        self.generators = nn.ModuleList(ImageGenerator(out_channels, in_channels) for _ in range(2) if generative)

    def forward(self, x: Tensor, labeled: int | None = None, images: Tensor | None = None) -> Any:
        """Run a training step's images, or segment.

        Args:
            x: in training mode ``(L + 2 U, C, H, W)``: labelled, unlabelled, and the unlabelled perturbed.
            labeled: L; None for all.
            images: what the generators should draw, ``(2 U, C, H, W)``: the unlabelled and the perturbed images before
                normalisation, since the generative loss is of images in [0, 1]; None for those of ``x``.

        Raises:
            ValueError: if the images are not ``L + 2 U`` with L >= 1, or ``images`` is not of the shape of their last
                ``2 U``.
        """
        if not self.training:
            return self.student(x)
        labeled = x.shape[0] if labeled is None else labeled
        unlabeled, odd = divmod(x.shape[0] - labeled, 2)
        if labeled < 1 or unlabeled < 0 or odd:
            raise ValueError(f"x must be L + 2 U images with L >= 1, got {x.shape[0]} with L = {labeled}")
        images = x[labeled:] if images is None else images
        if images.shape != x[labeled:].shape:
            raise ValueError(
                f"images must be {tuple(x[labeled:].shape)}, as x without the labelled, got {tuple(images.shape)}"
            )
        output = self.student(x)  # in one pass: BatchNorm sees all images
        of_labeled = slice(0, labeled)
        of_clean = slice(labeled, labeled + unlabeled)
        of_perturbed = slice(labeled + unlabeled, None)
        rebuilt = []
        if unlabeled > 0 and len(self.generators) > 0:
            mask = mask_logits(output)[-1]
            clean, perturbed = images.chunk(2)
            rebuilt = [
                (self.generators[0](mask[of_clean]), perturbed),
                (self.generators[1](mask[of_perturbed]), clean),
            ]
        scales = []
        if self.scales:
            full, down = self._scales(output, x)
            scales = [(full[group], down[group]) for group in (of_labeled, of_clean, of_perturbed)]
        return SemiSupervisedOutput(
            labeled=_select(output, of_labeled),
            scales=scales,
            clean=[logits[of_clean] for logits in mask_logits(output)],
            perturbed=[logits[of_perturbed] for logits in mask_logits(output)],
            rebuilt=rebuilt,
        )

    def _scales(self, output: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """The full and the down scale's logits of all images."""
        down = getattr(output, "down_scale", None)
        if down is not None:
            full = output.mask if output.full_scale is None else output.full_scale
            return full, down
        height, width = x.shape[2:]
        size = [down_scale_size(-(-side // _DOWN_STRIDE) * _DOWN_STRIDE, _DOWN_STRIDE) for side in (height, width)]
        smaller = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        down = mask_logits(self.student(smaller))[-1]
        upsampled = F.interpolate(down, size=[height, width], mode="bilinear", align_corners=False)
        return mask_logits(output)[-1], upsampled


def mask_logits(output: Any) -> list[Tensor]:
    """All mask logits of a train-mode output; the last are ``mask``. TypeError if there are none."""
    if isinstance(output, Tensor):
        return [output]
    if not isinstance(getattr(output, "mask", None), Tensor):
        raise TypeError(
            "semi-supervised training needs a network whose train-mode output is a tensor of mask logits or has them "
            f"as .mask, got {type(output).__name__}"
        )
    scales = [getattr(output, name, None) for name in ("full_scale", "down_scale")]
    return [*(logits for logits in scales if logits is not None), output.mask]


def _select(output: Any, images: slice) -> Any:
    """The output for some of the images: every tensor in a (named) tuple has them in its first dimension."""
    if output is None or isinstance(output, Tensor):
        return None if output is None else output[images]
    return type(output)(*(_select(value, images) for value in output))

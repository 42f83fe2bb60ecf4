"""Batches of the first training stage: each image twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.engines import PrepareBatch, default_prepare_batch
from torch import Tensor

__all__ = ["ConsistencyReinforcementPrepareBatch"]


class ConsistencyReinforcementPrepareBatch(PrepareBatch):
    """Give a trainer the clean and the strongly augmented view of every image, in one batch.

    Source: ConDSeg (AAAI 2025), "Consistency Reinforcement", Eq. 1: one network sees ``x`` and its augmented copy. In
    one forward pass BatchNorm sees both; the paper and the released code make two: ``PrecisionInferer(passes=2)``. The
    augmentation runs on the trainer's device.

    Args:
        augmentation: maps images ``(B, 3, H, W)`` in [0, 1] to images of the same shape and range, drawing per image
            from torch's generator.
        normalization: maps images ``(B, 3, H, W)`` in [0, 1] to what the network takes.

    Example:
        >>> prepare = ConsistencyReinforcementPrepareBatch(lambda x: 1 - x, lambda x: x - 0.5)
        >>> views, label = prepare({"image": torch.ones(2, 3, 4, 4), "label": torch.zeros(2, 1, 4, 4)})
        >>> views.shape, label.shape, views[0].mean().item(), views[2].mean().item()
        (torch.Size([4, 3, 4, 4]), torch.Size([2, 1, 4, 4]), 0.5, -0.5)
    """

    def __init__(self, augmentation: Callable[[Tensor], Tensor], normalization: Callable[[Tensor], Tensor]) -> None:
        self.augmentation = augmentation
        self.normalization = normalization

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Build the views of one batch.

        Args:
            batchdata: ``image`` ``(B, 3, H, W)`` in [0, 1] and ``label`` ``(B, 1, H, W)``.
            device: where the views are made.
            non_blocking: as for ``Tensor.to``.
            **kwargs: further arguments of ``Tensor.to``.

        Returns:
            Views ``(2B, 3, H, W)``, the clean ones first, normalised, and the label ``(B, 1, H, W)``.

        Raises:
            ValueError: if the batch has no label, or the augmentation changes the images' shape.
        """
        image, label = default_prepare_batch(batchdata, device, non_blocking, **kwargs)
        if label is None:
            raise ValueError("batchdata has no 'label': stage 1 is supervised on both views")
        clean = image.as_subclass(Tensor)
        with torch.no_grad():
            augmented = self.augmentation(clean)
            if augmented.shape != clean.shape:
                raise ValueError(f"augmentation must keep {tuple(clean.shape)}, got {tuple(augmented.shape)}")
            views = torch.cat([self.normalization(clean), self.normalization(augmented)])
        return views, label.as_subclass(Tensor)

"""Inferer of CT volumes, slice by slice, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from monai.networks.utils import eval_mode
from scipy.ndimage import find_objects
from torch import Tensor, nn

from condseg_monai.data.ct.slice_resize import resize_label_slice, resize_scores, resize_slice
from condseg_monai.data.ct.synapse import CT_WINDOW_HU, window_ct
from condseg_monai.data.ct.volume import Volume, axial_slices, volume_of_slices
from condseg_monai.data.images.normalization import normalize_image
from condseg_monai.inference.finite_output import check_finite
from condseg_monai.training.precision_inferer import check_precision, in_precision

__all__ = ["RESIZINGS", "VolumeInferer", "ensemble_labels", "keep_largest_components"]

RESIZINGS = {
    "scores": "class scores are interpolated to the size of the slice, then the best class is taken",
    "transunet": "the best class is taken at the network's size, and each pixel of the slice gets the nearest",
}
"""How a slice's labels come back to its size."""


SliceSink = Callable[[int, np.ndarray], None]
"""Takes the index of a slice and its scores, ``(H, W)`` or ``(H, W, C)`` in [0, 1]."""


class VolumeInferer:
    """Inferer of a CT volume, slice by slice: axial slices in batches, labels in the file's own order of axes.

    There is never more than one batch of slices at the network's size, the square ``image_size``, and one slice with
    all its class scores at full size. The window and ``normalization`` are those of training; ``resizing`` is a key of
    :data:`RESIZINGS`, ``precision`` as for :class:`~condseg_monai.PrecisionInferer`. Grey values are
    repeated for ``in_channels``.
    """

    def __init__(
        self,
        image_size: int = 224,
        window_hu: Sequence[float] = CT_WINDOW_HU,
        normalization: str = "imagenet",
        batch_size: int = 8,
        resizing: str = "scores",
        device: torch.device | str = "cpu",
        precision: str = "float32",
        in_channels: int = 3,
    ) -> None:
        if image_size < 1 or batch_size < 1:
            raise ValueError(f"image_size and batch_size must be positive, got {image_size} and {batch_size}")
        if resizing not in RESIZINGS:
            raise ValueError(f"resizing must be one of {', '.join(RESIZINGS)}, got {resizing!r}")
        self.image_size, self.batch_size, self.resizing = image_size, batch_size, resizing
        self.in_channels = in_channels
        self.window_hu, self.normalization = tuple(window_hu), normalization
        self.device, self.precision = torch.device(device), check_precision(precision)

    def __call__(
        self,
        volume: Volume,
        network: nn.Module,
        on_probability: SliceSink | None = None,
        on_uncertainty: SliceSink | None = None,
        on_progress: Callable[[int], object] | None = None,
    ) -> np.ndarray:
        """Segment a volume in Hounsfield units: ``uint8`` class numbers in the shape and order of ``volume.array``.

        The network, on the device already, takes ``(B, in_channels, h, w)`` and gives logits ``(B, C, h, w)``, by
        sigmoid if C is 1. ``on_probability`` gets each slice's class probabilities ``(H, W, C)``, background first;
        ``on_uncertainty`` its uncertainty ``(H, W)``; ``on_progress`` the number of slices of each batch.

        Raises:
            ValueError: if uncertainty is wanted of a network without, there are over 256 classes, float16 meets a CPU,
                or the network's output is not finite.
        """
        predict_regions = getattr(network, "predict_regions", None)
        if on_uncertainty is not None and predict_regions is None:
            raise ValueError(f"{type(network).__name__} predicts no regions, so there is no uncertainty to save")
        labels = np.zeros(volume.array.shape, dtype=np.uint8, order="F")
        slices, target = (axial_slices(array, volume.affine) for array in (volume.array, labels))
        with eval_mode(network), torch.inference_mode():
            for start in range(0, len(slices), self.batch_size):
                batch = self._input(volume, slices[start : start + self.batch_size])
                if on_uncertainty is not None and predict_regions is not None:
                    logits, regions = in_precision(self.precision, batch, predict_regions)
                else:
                    logits, regions = in_precision(self.precision, batch, network), None
                check_finite(logits)
                probs = _class_probs(logits)
                for i in range(len(batch)):
                    target[start + i] = self._labels(probs[i : i + 1], start + i, slices.shape[1:], on_probability)
                    if on_uncertainty is not None and regions is not None:
                        uncertainty = resize_scores(regions[i : i + 1, 2:3].float(), slices.shape[1:])
                        on_uncertainty(start + i, uncertainty[0, 0].cpu().numpy())
                if on_progress is not None:
                    on_progress(len(batch))
        return labels

    def _input(self, volume: Volume, slices: np.ndarray) -> Tensor:
        size = (self.image_size, self.image_size)
        resized = [resize_slice(window_ct(volume.hounsfield(slice_), self.window_hu), size) for slice_ in slices]
        grey = torch.from_numpy(np.stack(resized))[:, None].to(self.device)
        return normalize_image(grey.expand(-1, self.in_channels, -1, -1), self.normalization)

    def _labels(self, probs: Tensor, index: int, size: tuple[int, int], on_probability: SliceSink | None) -> np.ndarray:
        full = resize_scores(probs, size) if self.resizing == "scores" or on_probability is not None else None
        if full is not None and on_probability is not None:
            on_probability(index, full[0].permute(1, 2, 0).cpu().numpy())
        if full is not None and self.resizing == "scores":
            return full[0].argmax(0).to(torch.uint8).cpu().numpy()
        return resize_label_slice(probs[0].argmax(0).to(torch.uint8).cpu().numpy(), size)


def ensemble_labels(volume: Volume, members: Sequence[tuple[VolumeInferer, nn.Module]]) -> np.ndarray:
    """Segment a volume by the mean class probabilities of several networks, each with its inferer; see
    :class:`VolumeInferer`. Probabilities are held of one batch of slices.
    """
    if len(members) == 1:
        inferer, network = members[0]
        return inferer(volume, network)
    labels = np.zeros(volume.array.shape, dtype=np.uint8, order="F")
    slices, target = (axial_slices(array, volume.affine) for array in (volume.array, labels))
    step = members[0][0].batch_size
    for start in range(0, len(slices), step):
        part = replace(volume, array=volume_of_slices(slices[start : start + step], volume.affine))
        sums: dict[int, np.ndarray] = {}

        def add(index: int, probs: np.ndarray, sums: dict[int, np.ndarray] = sums) -> None:
            sums[index] = sums[index] + probs if index in sums else probs

        for inferer, network in members:
            inferer(part, network, on_probability=add)
        for index, probs in sums.items():
            target[start + index] = probs.argmax(axis=2)
    return labels


def keep_largest_components(labels: np.ndarray) -> None:
    """Keep of each class of ``(I, J, K)`` labels its largest component, by faces, edges and corners; in place."""
    from monai.transforms.utils import get_largest_connected_component_mask

    for label, box in enumerate(find_objects(labels), 1):
        if box is not None:
            mask = labels[box] == label
            largest = get_largest_connected_component_mask(mask, connectivity=3)
            labels[box][mask & ~np.asarray(largest, dtype=bool)] = 0


def _class_probs(logits: Tensor) -> Tensor:
    channels = logits.shape[1]
    if channels > 256:
        raise ValueError(f"labels are 8-bit numbers, so the network can have 256 classes, not {channels}")
    if channels == 1:
        foreground = logits.float().sigmoid()
        return torch.cat((1 - foreground, foreground), dim=1)
    return logits.float().softmax(dim=1)

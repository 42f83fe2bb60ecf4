"""Segmenter: a trained model as one Python object that turns images and CT volumes into masks."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from PIL import Image
from torch import Tensor

from condseg_monai.data.ct.volume import Volume, check_hounsfield
from condseg_monai.data.ct.volume_list import list_volumes, read_volume, volume_stem
from condseg_monai.data.images.image_array import as_image_array
from condseg_monai.data.images.image_reader import read_natural_image
from condseg_monai.data.settings import model_settings
from condseg_monai.inference.dicom_segmentation import write_dicom_seg
from condseg_monai.inference.model_files import find_model
from condseg_monai.inference.model_pipeline import ModelPipeline, load_pipeline
from condseg_monai.inference.predictions import write_mask
from condseg_monai.inference.volume_files import write_label_volume
from condseg_monai.inference.volume_inferer import ensemble_labels, keep_largest_components
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.reports.overlay import draw_mask
from condseg_monai.utils.options import read_options

__all__ = ["Segmentation", "Segmenter"]


@dataclass(frozen=True)
class Segmentation:
    """Result of :meth:`Segmenter.predict`.

    Attributes:
        mask: class numbers, ``uint8``, at the size of the input: ``(H, W)``, or ``(I, J, K)`` in the order of a
            volume's file. Binary: 0 and 1.
        class_names: what the numbers are, background first.
        probability: of an image, ``(H, W)`` of the foreground in [0, 1], or ``(C, H, W)`` of several classes; None for
            volumes.
        uncertainty: of an image, ``(H, W)`` probability of the uncertainty region in [0, 1]; None for volumes and for
            networks without regions.
        image: the image as it was read, ``(H, W, 3)`` in [0, 255]; None for volumes.
        volume: of CT, the scan; None for images.
        classes: of images with several classes, the value of each in masks by its name; None for a binary mask.
    """

    mask: np.ndarray
    class_names: tuple[str, ...]
    probability: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    image: np.ndarray | None = field(default=None, repr=False)
    volume: Volume | None = field(default=None, repr=False)
    classes: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Of a volume, the distance of voxels along each axis of :attr:`mask`."""
        if self.volume is None:
            return None
        i, j, k = (float(value) for value in np.linalg.norm(self.volume.affine[:3, :3], axis=0))
        return i, j, k

    @property
    def volume_ml(self) -> dict[str, float] | None:
        """Of a volume, millilitres of each class but the background."""
        if self.volume is None:
            return None
        voxel = abs(float(np.linalg.det(self.volume.affine[:3, :3]))) / 1000
        counts = np.bincount(self.mask.ravel(), minlength=len(self.class_names))
        return {name: float(counts[i]) * voxel for i, name in enumerate(self.class_names) if i}

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the mask: of an image ``.png``, as ``condseg predict`` does; of a volume ``.nii``, ``.nii.gz`` or
        DICOM SEG, ``.dcm``. The file appears whole.

        Raises:
            FileExistsError: if it exists, unless ``overwrite``.
            ValueError: if the ending is another.
        """
        target = Path(path)
        endings = (".png",) if self.volume is None else (".nii.gz", ".nii", ".dcm")
        if not target.name.lower().endswith(endings):
            raise ValueError(f"path must end in {' or '.join(endings)}, got {target}")
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} exists; give another path or overwrite=True")
        if self.volume is None:
            write_mask(target, self.mask, self.classes)
        elif target.suffix.lower() == ".dcm":
            write_dicom_seg(target, self.mask, self.volume, self.class_names)
        else:
            write_label_volume(target, self.mask, self.volume)
        return target

    def overlay(self) -> Image.Image:
        """Draw the contour of the mask, or of each class, on the image; a ValueError for volumes."""
        if self.image is None:
            raise ValueError("an overlay is drawn on an image; open the volume and its label in a viewer")
        return Image.fromarray(draw_mask(self.image.round().astype(np.uint8), self.mask, self.classes))


class Segmenter:
    """A trained model that turns images and CT volumes into masks, as ``condseg predict`` and ``inference.json`` do.

    The pipeline is the one of this package's ``inference.json``; its settings are the model card's. Results are equal
    at an equal ``batch_size``, else up to rounding in the network. Of a model only its weights (``weights_only=True``)
    and its card, plain data, are read, at the first use; nothing in a model's folder is evaluated. One object may be
    used by several threads.

    Args:
        model: a checkpoint, the folder of a run or bundle, a zip, or the name of a model of the bundle, see
            :func:`~condseg_monai.inference.model_files.find_model`; or several of the same classes, an ensemble: each
            sees the image at its own size, and their probabilities are averaged.
        device: where to compute; None: a GPU if there is one.
        precision: ``"float32"``, ``"bfloat16"`` or, on a GPU, ``"float16"``; None: what ``inference.json`` takes.
        threshold: of binary masks, instead of the model card's.
        tta: average over the flips of the image too (four passes).
        tile_size: images with a longer side are cut into tiles of this many pixels a side, each seen as one image, and
            blended; None: never. The networks see ``batch_size`` tiles at a time; an RGB image and its scores then
            take some 30 bytes a pixel.
        overlap: of tiles, in [0, 1).
        batch_size: images, slices or tiles at a time; None: what ``inference.json`` takes.
        keep_largest: of CT, keep of each organ its largest component.
        check_values: of CT, refuse volumes whose values are not Hounsfield units.

    Example::

        segmenter = Segmenter("runs/polyps")
        result = segmenter.predict("frame.png")
        result.mask, result.probability, result.uncertainty  # (H, W) at the image's own size
        result.save("mask.png")
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        device: str | torch.device | None = None,
        precision: str | None = None,
        threshold: float | None = None,
        tta: bool = False,
        tile_size: int | None = None,
        overlap: float = 0.25,
        batch_size: int | None = None,
        keep_largest: bool = False,
        check_values: bool = True,
    ) -> None:
        if tile_size is not None and (not isinstance(tile_size, int) or tile_size < 1):
            raise ValueError(f"tile_size must be a positive integer or None, got {tile_size!r}")
        for name, flag in {"tta": tta, "keep_largest": keep_largest, "check_values": check_values}.items():
            if not isinstance(flag, bool):
                raise TypeError(f"{name} must be True or False, got {flag!r}")
        if not 0 <= overlap < 1 or (batch_size is not None and batch_size < 1):
            raise ValueError(f"overlap must be in [0, 1) and batch_size positive, got {overlap} and {batch_size}")
        if threshold is not None and not (isinstance(threshold, (int, float)) and 0 < threshold < 1):
            raise ValueError(f"threshold must be between 0 and 1, got {threshold!r}")
        if not isinstance(model, (str, os.PathLike, Sequence)):
            raise TypeError(f"model must be a path or a list of paths, got {model!r}")
        if device is not None:
            read_options(device=device)
        self.models = [model] if isinstance(model, (str, os.PathLike)) else list(model)
        self.threshold, self.tta, self.tile_size, self.overlap = threshold, tta, tile_size, overlap
        self.keep_largest, self.check_values = keep_largest, check_values
        options = {
            "device": None if device is None else torch.device(device),
            "precision": precision,
            "batch_size": batch_size,
        }
        self._options = {name: value for name, value in options.items() if value is not None}
        self._lock = threading.Lock()
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(repr(str(model)) for model in self.models)})"

    @property
    def card(self) -> ModelCard:
        """The model card of the model, of several the first one's; without a card, the defaults."""
        return self._pipelines[0].card

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the numbers in masks are, background first."""
        return self._pipelines[0].class_names

    @property
    def batch_size(self) -> int:
        """Images, slices or tiles at a time."""
        return self._pipelines[0].batch_size

    def predict(self, x: Any) -> Any:
        """Segment an image, a CT volume, or a list of them.

        Args:
            x: the path of an image; the bytes of its file; a PIL image; an array ``(H, W)`` or ``(H, W, 3 or 4)`` of
                ``uint8``, ``uint16`` (from 0 to 65535) or floating point from 0 to 1; a tensor ``(1 or 3, H, W)`` of
                the same; for a CT model the path of a NIfTI file or of the folder of a DICOM series; or a list of
                these.

        Returns:
            A :class:`Segmentation`, or a list of them.

        Raises:
            FileNotFoundError: if the model does not exist.
            ValueError: if the model or an input does not exist or cannot be used; the message names it, in a list by
                its index too.
        """
        if not isinstance(x, (list, tuple)):
            return self._predict([x])[0]
        results: list[Segmentation] = []
        size = self.batch_size
        for start in range(0, len(x), size):
            results += self._predict(x[start : start + size], start)
        return results

    def _predict(self, items: Sequence[Any], start: int | None = None) -> list[Segmentation]:
        """Segment one batch, whose first item is at index ``start`` of a list."""
        read, kind = (self._array, "image") if self.card.kind == "image" else (self._volume, "volume")
        inputs: list[Any] = []
        for i, item in enumerate(items):
            try:
                inputs.append(read(item))
            except ValueError as error:
                raise ValueError(str(error) if start is None else f"{kind} {start + i} of the list: {error}") from error
        if kind == "volume":
            return [self._predict_volume(volume) for volume in inputs]
        whole = iter(self._predict_arrays([array for array in inputs if not self._is_large(array)]))
        return [self._predict_tiles(array) if self._is_large(array) else next(whole) for array in inputs]

    def _volume(self, path: Any) -> Volume:
        if not isinstance(path, (str, os.PathLike)):
            raise ValueError(
                f"a model of CT volumes needs a NIfTI file or the folder of a DICOM series, which say how large a "
                f"voxel is, got {type(path).__name__}"
            )
        volumes = list_volumes(path)
        if len(volumes) != 1 or (not Path(path).is_dir() and volume_stem(path) is None):
            raise ValueError(f"{path} has {len(volumes)} volumes: give one file or series, or a list of them")
        volume = read_volume(volumes[0][1])
        if self.check_values:
            check_hounsfield(volume)
        return volume

    def _predict_volume(self, volume: Volume) -> Segmentation:
        labels = ensemble_labels(volume, [(pipeline.inferer, pipeline.network) for pipeline in self._pipelines])
        if self.keep_largest:
            keep_largest_components(labels)
        return Segmentation(labels, self._pipelines[0].class_names, volume=volume)

    def _is_large(self, array: np.ndarray) -> bool:
        return self.tile_size is not None and max(array.shape[:2]) > self.tile_size

    def _array(self, item: Any) -> np.ndarray:
        """``(H, W, 3)``, or of a network of one channel ``(H, W, 1)``, as the reader of files gives it."""
        mode = self.card.image_mode
        if isinstance(item, (str, os.PathLike, bytes)):
            if not isinstance(item, bytes) and (Path(item).is_dir() or volume_stem(item) is not None):
                raise ValueError(f"the model segments images, and {item} is none: give an image, or a list of them")
            array = read_natural_image(item, mode)
            return array if array.ndim == 3 else array[..., None]
        if isinstance(item, Tensor):
            if item.ndim != 3 or item.shape[0] not in (1, 3):
                raise ValueError(f"a tensor must be (1, H, W) or (3, H, W), got {tuple(item.shape)}")
            try:
                item = (item.float() if item.dtype == torch.bfloat16 else item).detach().cpu().numpy()
            except (RuntimeError, TypeError) as error:  # sparse, without values
                raise ValueError(f"a tensor of {item.layout} on {item.device} is no image: {error}") from error
            item = item.transpose(1, 2, 0)
        array = as_image_array(item, mode)
        return array if array.ndim == 3 else array[..., None]

    def _predict_arrays(self, arrays: Sequence[np.ndarray]) -> list[Segmentation]:
        if not arrays:
            return []
        scores = zip(*(pipeline.scores(arrays) for pipeline in self._pipelines_of_thread), strict=True)
        return [self._segmentation(array, _mean(members)) for array, members in zip(arrays, scores, strict=True)]

    def _predict_tiles(self, array: np.ndarray) -> Segmentation:
        assert self.tile_size is not None
        size = [min(self.tile_size, side) for side in array.shape[:2]]
        pipelines = self._pipelines_of_thread

        def predict(tiles: Tensor) -> dict[str, Tensor]:
            arrays = [tile.permute(1, 2, 0).numpy() for tile in tiles]
            means = [_mean(members) for members in zip(*(p.scores(arrays) for p in pipelines), strict=True)]
            return {key: torch.stack([mean[key] for mean in means]) for key in means[0]}

        blend = SlidingWindowInferer(size, pipelines[0].batch_size, self.overlap, mode="gaussian", progress=False)
        image = torch.from_numpy(np.array(array)).permute(2, 0, 1)[None].float()
        outputs: Any = blend(image, cast(Any, predict))
        return self._segmentation(array, {key: value[0] for key, value in outputs.items()})

    def _segmentation(self, array: np.ndarray, scores: Mapping[str, Tensor]) -> Segmentation:
        pipeline = self._pipelines_of_thread[0]
        probability = scores["pred"].numpy()
        return Segmentation(
            mask=pipeline.mask(scores["pred"]),
            class_names=pipeline.class_names,
            probability=probability[0] if len(probability) == 1 else probability,
            uncertainty=scores["uncertainty"].numpy()[0] if "uncertainty" in scores else None,
            image=array if array.shape[-1] == 3 else np.repeat(array, 3, axis=-1),
            classes=pipeline.card.classes,
        )

    @cached_property
    def _once(self) -> list[ModelPipeline]:
        paths = [find_model(model) for model in self.models]
        if not paths:
            raise ValueError("model must be one or more, got an empty list")
        cards = [self._card(path) for path in paths]
        for path, card in zip(paths, cards, strict=True):
            was, now = cards[0].settings(), card.settings()
            if other := [name for name in _EQUAL if was.get(name) != now.get(name)]:
                raise ValueError(
                    f"{path} has {other[0]} {now.get(other[0])}, but {paths[0]} {was.get(other[0])}: an ensemble is of "
                    "models that segment the same"
                )
        return [load_pipeline(path, card, self._options, self.tta) for path, card in zip(paths, cards, strict=True)]

    def _card(self, path: Path) -> ModelCard:
        card = ModelCard.of(path)
        given = {} if self.threshold is None else {"threshold": self.threshold}
        return model_settings(given, path, kind=card.kind if card else "image")

    @property
    def _pipelines(self) -> list[ModelPipeline]:
        with self._lock:  # so that two threads do not load twice
            return self._once

    @property
    def _pipelines_of_thread(self) -> list[ModelPipeline]:
        if not hasattr(self._local, "pipelines"):
            with self._lock:
                self._local.pipelines = [pipeline.for_this_thread() for pipeline in self._once]
        return cast("list[ModelPipeline]", self._local.pipelines)


_EQUAL = ("kind", "in_channels", "out_channels", "threshold", "class_names", "class_values")


def _mean(members: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each score that all members have."""
    keys = [key for key in members[0] if all(key in member for member in members)]
    return {key: torch.stack([member[key] for member in members]).mean(dim=0) for key in keys}

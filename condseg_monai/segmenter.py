"""Segmenter: a trained model as one Python object that turns images and CT volumes into masks."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import LoadImaged, SaveImaged
from PIL import Image
from torch import Tensor, nn

from condseg_monai.data.ct.volume import Volume, check_hounsfield
from condseg_monai.data.ct.volume_list import list_volumes, read_volume, volume_stem
from condseg_monai.data.images.image_array import as_image_array
from condseg_monai.data.images.image_reader import read_natural_image
from condseg_monai.data.settings import model_settings
from condseg_monai.inference.case_loader import predict_batch
from condseg_monai.inference.dicom_segmentation import write_dicom_seg
from condseg_monai.inference.model_files import find_model
from condseg_monai.inference.predictions import write_mask
from condseg_monai.inference.required_checkpoint import RequiredCheckpoint
from condseg_monai.inference.volume_files import write_label_volume
from condseg_monai.inference.volume_inferer import VolumeInferer
from condseg_monai.networks.averaged import AveragedNetwork
from condseg_monai.networks.methods import network_of
from condseg_monai.networks.model_card import ModelCard, card_path
from condseg_monai.reports.overlay import draw_mask
from condseg_monai.utils.bundle_path import bundle_dir

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
            :func:`~condseg_monai.inference.model_files.find_model`; or several with equal settings, whose probabilities
            are averaged.
        device: where to compute; None: a GPU if there is one.
        precision: ``"float32"``, ``"bfloat16"`` or, on a GPU, ``"float16"``; None: what ``inference.json`` takes.
        tta: average over the flips of the image too (four passes).
        tile_size: images with a longer side are cut into tiles of this many pixels a side, each seen as one image, and
            blended; None: never. Memory then grows with the image by some 12 bytes a pixel, not by the network.
        overlap: of tiles, in [0, 1).
        batch_size: images, slices or tiles at a time.

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
        tta: bool = False,
        tile_size: int | None = None,
        overlap: float = 0.25,
        batch_size: int = 4,
    ) -> None:
        if tile_size is not None and tile_size < 1:
            raise ValueError(f"tile_size must be positive or None, got {tile_size}")
        if not 0 <= overlap < 1 or batch_size < 1:
            raise ValueError(f"overlap must be in [0, 1) and batch_size positive, got {overlap} and {batch_size}")
        self.models = [model] if isinstance(model, (str, os.PathLike)) else list(model)
        self.device, self.precision, self.tta = device, precision, tta
        self.tile_size, self.overlap, self.batch_size = tile_size, overlap, batch_size
        self._lock = threading.Lock()
        self._local = threading.local()

    @property
    def card(self) -> ModelCard:
        """The model card of the model, of several the first one's; without a card, the defaults."""
        return self._loaded.card

    def predict(self, x: Any) -> Any:
        """Segment an image, a CT volume, or a list of them.

        Args:
            x: the path of an image; a PIL image; an array ``(H, W)`` or ``(H, W, 3 or 4)`` of ``uint8``, ``uint16``
                (from 0 to 65535) or floating point from 0 to 255; a tensor ``(1 or 3, H, W)`` of the same; for a CT
                model the path of a NIfTI file or of the folder of a DICOM series; or a list of these.

        Returns:
            A :class:`Segmentation`, or a list of them.

        Raises:
            FileNotFoundError: if the model or the input does not exist.
            ValueError: if the model or an input cannot be used; the message names it.
        """
        items = list(x) if isinstance(x, (list, tuple)) else [x]
        if self._loaded.card.kind == "ct":
            results = [self._predict_volume(item) for item in items]
        else:
            results = self._predict_images(items)
        return results if isinstance(x, (list, tuple)) else results[0]

    def _predict_volume(self, path: Any) -> Segmentation:
        if not isinstance(path, (str, os.PathLike)):
            raise ValueError(
                f"a model of CT volumes needs a NIfTI file or the folder of a DICOM series, which say how large a "
                f"voxel is, got {type(path).__name__}"
            )
        volumes = list_volumes(path)
        if len(volumes) != 1 or (not Path(path).is_dir() and volume_stem(path) is None):
            raise ValueError(f"{path} has {len(volumes)} volumes: give one file or series, or a list of them")
        volume = read_volume(volumes[0][1])
        check_hounsfield(volume)
        loaded = self._loaded
        return Segmentation(loaded.volume_inferer(volume, loaded.network), loaded.class_names, volume=volume)

    def _predict_images(self, items: Sequence[Any]) -> list[Segmentation]:
        results: list[Segmentation] = []
        for start in range(0, len(items), self.batch_size):
            arrays = [self._array(item) for item in items[start : start + self.batch_size]]
            whole = [array for array in arrays if not self._is_large(array)]
            predicted = iter(self._predict_arrays(whole) if whole else [])
            results += [self._predict_tiles(a) if self._is_large(a) else next(predicted) for a in arrays]
        return results

    def _is_large(self, array: np.ndarray) -> bool:
        return self.tile_size is not None and max(array.shape[:2]) > self.tile_size

    def _array(self, item: Any) -> np.ndarray:
        """``(H, W, 3)``, or of a network of one channel ``(H, W, 1)``, as the reader of files gives it."""
        mode = self._loaded.card.image_mode
        if isinstance(item, (str, os.PathLike)):
            array = read_natural_image(item, mode)
            return array if array.ndim == 3 else array[..., None]
        if isinstance(item, Tensor):
            if item.ndim != 3 or item.shape[0] not in (1, 3):
                raise ValueError(f"a tensor must be (1, H, W) or (3, H, W), got {tuple(item.shape)}")
            item = item.detach().cpu().numpy().transpose(1, 2, 0)
        array = as_image_array(item, mode)
        return array if array.ndim == 3 else array[..., None]

    def _predict_arrays(self, arrays: Sequence[np.ndarray]) -> list[Segmentation]:
        loaded, transforms = self._loaded, self._transforms
        cases = [transforms.before(array) for array in arrays]
        with torch.inference_mode():
            outputs = predict_batch(cases, loaded.inferer, loaded.network, loaded.device)
        results = []
        for array, case in zip(arrays, outputs, strict=True):
            case = transforms.after(case)
            probability = np.asarray(case["probability"].cpu())
            uncertainty = np.asarray(case["uncertainty"].cpu())[0] if "uncertainty" in case else None
            results.append(
                Segmentation(
                    mask=np.asarray(case["pred"].cpu())[0].astype(np.uint8),
                    class_names=loaded.class_names,
                    probability=probability[0] if len(probability) == 1 else probability,
                    uncertainty=uncertainty,
                    image=array if array.shape[-1] == 3 else np.repeat(array, 3, axis=-1),
                    classes=loaded.card.classes,
                )
            )
        return results

    def _predict_tiles(self, array: np.ndarray) -> Segmentation:
        assert self.tile_size is not None
        size = [min(self.tile_size, side) for side in array.shape[:2]]

        def predict(tiles: Tensor) -> tuple[Tensor, ...]:
            found = self._predict_arrays([tile.permute(1, 2, 0).numpy() for tile in tiles])
            scores = [(result.probability, result.uncertainty) for result in found]
            maps = [np.stack(cast(Any, maps)) for maps in zip(*scores, strict=True) if maps[0] is not None]
            return tuple(torch.from_numpy(m if m.ndim == 4 else m[:, None]) for m in maps)

        blend = SlidingWindowInferer(size, self.batch_size, self.overlap, mode="gaussian", progress=False)
        image = torch.from_numpy(np.array(array)).permute(2, 0, 1)[None].float()
        outputs: Any = blend(image, predict)
        probability, *others = (value[0].numpy() for value in (outputs if isinstance(outputs, tuple) else (outputs,)))
        binary = len(probability) == 1
        mask = probability[0] >= self._loaded.card.threshold if binary else probability.argmax(axis=0)
        return Segmentation(
            mask=mask.astype(np.uint8),
            class_names=self._loaded.class_names,
            probability=probability[0] if binary else probability,
            uncertainty=others[0][0] if others else None,
            image=array if array.shape[-1] == 3 else np.repeat(array, 3, axis=-1),
            classes=self._loaded.card.classes,
        )

    @cached_property
    def _once(self) -> _Loaded:
        return _Loaded(self)

    @property
    def _loaded(self) -> _Loaded:
        with self._lock:  # so that two threads do not load twice
            return self._once

    @property
    def _transforms(self) -> _Transforms:
        """This thread's own transforms: MONAI's inversion changes them while it works."""
        if not hasattr(self._local, "transforms"):
            with self._lock:
                self._local.transforms = copy.deepcopy(self._once.transforms)
        return cast(_Transforms, self._local.transforms)


class _Loaded:
    """Network, settings and pipeline of a segmenter."""

    def __init__(self, segmenter: Segmenter) -> None:
        paths = [find_model(model) for model in segmenter.models]
        if not paths:
            raise ValueError("model must be one or more, got an empty list")
        kinds = [ModelCard.read(card_path(path)).kind if card_path(path).is_file() else "image" for path in paths]
        cards = [model_settings({}, path, kind=kind) for path, kind in zip(paths, kinds, strict=True)]
        self.card = cards[0]
        for path, card in zip(paths, cards, strict=True):
            was, now = self.card.settings(), card.settings()
            if other := [name for name in _EQUAL if was.get(name) != now.get(name)]:
                raise ValueError(
                    f"{path} has {other[0]} {now.get(other[0])}, but {paths[0]} {was.get(other[0])}: an ensemble is of "
                    "models with equal settings"
                )
        config = {"image": "inference.json", "ct": "inference_synapse.json"}[self.card.kind]
        parser = ConfigParser(ConfigParser.load_config_file(bundle_dir() / "configs" / config))
        parser["model"] = self.card
        if segmenter.device is not None:
            parser["device"] = torch.device(segmenter.device)
        if segmenter.precision is not None:
            parser["precision"] = segmenter.precision
        parser["batch_size"] = segmenter.batch_size
        self.device: torch.device = parser.get_parsed_content("device")
        networks = [self._network(path, card) for path, card in zip(paths, cards, strict=True)]
        average = len(networks) > 1 or segmenter.tta
        parser["network_def"] = AveragedNetwork(networks, flips=segmenter.tta).eval() if average else networks[0]
        self.network: nn.Module = parser.get_parsed_content("network")
        parser["save_uncertainty"] = "npy" if hasattr(self.network, "predict_regions") else "none"
        if self.card.kind == "ct":
            self.volume_inferer: VolumeInferer = parser.get_parsed_content("inferer")
            return
        self.inferer: Any = parser.get_parsed_content("inferer")
        self.transforms = _Transforms(
            parser.get_parsed_content("preprocessing").transforms,
            parser.get_parsed_content("postprocessing").transforms,
        )

    def _network(self, path: Path, card: ModelCard) -> nn.Module:
        network = network_of(card)
        weights = RequiredCheckpoint(path, network, card)
        weights.load()
        self.class_names = weights.class_names or card.class_names
        return network.eval()


_EQUAL = (
    *("kind", "in_channels", "out_channels", "image_size", "anti_aliasing", "normalization", "window_hu"),
    *("threshold", "class_names", "class_values"),
)


class _Transforms:
    """The transforms of ``inference.json`` without those that read and write files."""

    def __init__(self, before: Iterable[Any], after: Iterable[Any]) -> None:
        self._before = [transform for transform in before if not isinstance(transform, LoadImaged)]
        self._after = [transform for transform in after if not isinstance(transform, SaveImaged)]

    def before(self, array: np.ndarray) -> dict[str, Any]:
        """What comes before the network, of an image as the reader gives it."""
        meta = {"original_channel_dim": -1, "spatial_shape": np.array(array.shape[:2])}
        return _apply(self._before, {"image": MetaTensor(torch.from_numpy(np.array(array)), meta=meta)})

    def after(self, case: dict[str, Any]) -> dict[str, Any]:
        """What comes after it."""
        return _apply(self._after, case)


def _apply(transforms: Iterable[Any], case: dict[str, Any]) -> dict[str, Any]:
    for transform in transforms:
        case = transform(case)
    return case

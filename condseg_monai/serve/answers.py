"""Answers of the service: a mask as a file, or facts in JSON, with what the page shows."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from condseg_monai.data.ct.synapse import window_ct
from condseg_monai.data.ct.volume import axial_slices, axial_spacing
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.reports.drawing import PREDICTION_COLOR, picture_uri
from condseg_monai.segmenter import Segmentation
from condseg_monai.utils.palette import class_colors

__all__ = ["FORMATS", "Answer", "MaskFormat", "class_facts"]


@dataclass(frozen=True)
class MaskFormat:
    """A kind of file that a mask is sent as."""

    kind: str  # of the model
    media_type: str
    file: str


FORMATS = {
    "png": MaskFormat("image", "image/png", "mask.png"),
    "nifti": MaskFormat("ct", "application/gzip", "mask.nii.gz"),
    "seg": MaskFormat("ct", "application/dicom", "mask.dcm"),
}

_MAX_PIXELS = 1 << 22  # of an image that the page shows
_MAX_VOXELS = 1 << 24


@dataclass(frozen=True)
class Answer:
    """What a request wants of a segmentation.

    Attributes:
        card: of the model.
        format: a key of :data:`FORMATS`, or ``"json"``.
        threshold: of a binary mask, from this probability on, instead of the model card's; None for that.
        view: add to JSON what the page shows, and the mask's file.
    """

    card: ModelCard
    format: str = "json"
    threshold: float | None = None
    view: bool = False

    @property
    def media_type(self) -> str:
        """Of the content."""
        return "application/json" if self.format == "json" else FORMATS[self.format].media_type

    def content(self, result: Segmentation) -> bytes:
        """Return the content for a segmentation.

        Raises:
            ValueError: if it cannot be had as the format, NIfTI as DICOM SEG.
            ImportError: if DICOM SEG needs a package that is not installed.
        """
        if self.threshold is not None and result.probability is not None:
            mask = (result.probability >= self.threshold).astype(np.uint8)
            result = dataclasses.replace(result, mask=mask)
        if self.format != "json":
            return _file(result, FORMATS[self.format].file)
        facts = _facts(result, self.card)
        if self.view:
            file = FORMATS["png" if result.volume is None else "nifti"].file
            facts["mask"] = {"file": file, "base64": _base64(_file(result, file))}
            facts["view"] = _image_view(result) if result.volume is None else _volume_view(result, self.card)
        return json.dumps(facts).encode()


def class_facts(card: ModelCard, class_names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each class but the background its number in arrays, its value in mask files and its colour, by name."""
    numbers = {name: i for i, name in enumerate(class_names)}
    values = [0, 255] if card.is_binary else [*(card.classes or numbers).values()]
    colors = [(0, 0, 0), PREDICTION_COLOR] if card.is_binary else class_colors(len(class_names)).tolist()
    return {
        name: {"number": i, "value": values[i], "color": "#{:02x}{:02x}{:02x}".format(*colors[i])}
        for name, i in numbers.items()
        if i
    }


def _facts(result: Segmentation, card: ModelCard) -> dict[str, Any]:
    classes = class_facts(card, result.class_names)
    counts = np.bincount(result.mask.ravel(), minlength=len(result.class_names))
    unit = "pixels" if result.volume is None else "voxels"
    for name, fact in classes.items():
        i = fact["number"]
        fact |= {unit: int(counts[i]), "fraction": float(counts[i] / result.mask.size)}
        if result.probability is not None:
            scores = result.probability if result.probability.ndim == 2 else result.probability[i]
            fact["max_probability"] = float(scores.max())
        if result.volume_ml is not None:
            fact["volume_ml"] = result.volume_ml[name]
    facts: dict[str, Any] = {"shape": list(result.mask.shape), "class_names": list(result.class_names)}
    if result.spacing_mm is not None:
        facts["spacing_mm"] = list(result.spacing_mm)
    return {**facts, "classes": classes}


def _file(result: Segmentation, name: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="condseg_serve_") as folder:
        return result.save(Path(folder) / name).read_bytes()


def _image_view(result: Segmentation) -> dict[str, Any]:
    """The image as JPEG, and as PNG class numbers and scores; of a large image every second pixel, and so on.

    Of the scores 256 red + green is 65535 times the foreground's probability, and blue 255 times the uncertainty.
    """
    assert result.image is not None and result.probability is not None
    step = _step(result.mask.size, _MAX_PIXELS)
    every = (slice(None, None, step), slice(None, None, step))
    probs = result.probability if result.probability.ndim == 2 else 1 - result.probability[0]
    steps = (np.clip(probs[every], 0, 1) * 65535).round().astype(np.uint16)
    uncertainty = np.zeros(steps.shape) if result.uncertainty is None else result.uncertainty[every]
    scores = np.stack((steps >> 8, steps & 255, (np.clip(uncertainty, 0, 1) * 255).round()), axis=-1).astype(np.uint8)
    return {
        "step": step,
        "image": picture_uri(result.image[every].round().astype(np.uint8), quality=92),
        "labels": picture_uri(result.mask[every], "PNG"),
        "scores": picture_uri(scores, "PNG"),
    }


def _volume_view(result: Segmentation, card: ModelCard) -> dict[str, Any]:
    """Grey values in the network's window and class numbers, ``(D, H, W)`` towards head, back and left, 8 bits, gzip.

    Of a large one every second row and column, or every third, and so on.
    """
    volume = result.volume
    assert volume is not None and card.window_hu is not None
    slices, labels = (axial_slices(array, volume.affine) for array in (volume.array, result.mask))
    step = _step(result.mask.size, _MAX_VOXELS)
    every = (slice(None, None, step), slice(None, None, step))
    grey = [
        (window_ct(volume.hounsfield(part[every]), card.window_hu) * 255).round().astype(np.uint8) for part in slices
    ]
    depth, height, width = axial_spacing(volume.affine)
    return {
        "step": step,
        "shape": [len(grey), *grey[0].shape],
        "spacing_mm": [depth, height * step, width * step],
        "image": _packed(np.stack(grey)),
        "labels": _packed(labels[:, every[0], every[1]]),
        "is_dicom": volume.is_dicom,
    }


def _step(size: int, limit: int) -> int:
    """The step along two axes with which an array has no more than so many elements, or hardly more."""
    return int(np.ceil(np.sqrt(size / limit))) if size > limit else 1


def _packed(array: np.ndarray) -> str:
    return _base64(gzip.compress(np.ascontiguousarray(array).tobytes(), compresslevel=1))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")

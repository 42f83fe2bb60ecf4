"""Pictures for people: contours on images, coloured classes, heat maps, and cuts through volumes."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont
from skimage.morphology import dilation, disk
from skimage.segmentation import find_boundaries

from condseg_monai.data.ct.synapse import window_ct
from condseg_monai.utils.palette import class_colors

__all__ = [
    "LABEL_COLOR",
    "PLANES",
    "PREDICTION_COLOR",
    "draw_case",
    "draw_class_case",
    "draw_class_overlay",
    "draw_classes",
    "draw_heat_map",
    "draw_overlay",
    "draw_planes",
    "picture_uri",
    "png_uri",
    "resize_picture",
    "to_rgb",
]

PREDICTION_COLOR = (0, 229, 255)
LABEL_COLOR = (255, 221, 0)
PLANES = ("axial", "coronal", "sagittal")
_SMALLEST_WITH_BAR = 100  # pixels

# Eleven evenly spaced colours of "inferno" (N. J. Smith and S. van der Walt, CC0): its lightness rises evenly.
_INFERNO = np.array(
    "0 0 4, 22 11 57, 66 10 104, 106 23 110, 147 38 103, 188 55 84, 221 81 58, 243 120 25, 252 165 10, 246 215 70, "
    "252 255 164".replace(",", " ").split(),
    dtype=float,
).reshape(-1, 3)


def draw_overlay(image: ArrayLike, mask: ArrayLike, label: ArrayLike | None = None, legend: bool = True) -> np.ndarray:
    """Draw the contour of a prediction, cyan and along its inside, and of the label, yellow and along its outside.

    The lines are equally wide: where both agree they run side by side. The width follows the size of the image.

    Args:
        image: ``(H, W, 3)`` or ``(H, W)``: 8-bit integers, or floats in [0, 1].
        mask: ``(H, W)`` prediction; what is not 0 is foreground.
        label: ``(H, W)`` ground truth, or None.
        legend: with a label, name the two lines in the lower left corner, if the image has room for it.

    Returns:
        ``(H, W, 3)``, ``uint8``.
    """
    picture = to_rgb(image).copy()
    width = max(1, round(min(picture.shape[:2]) / 250))
    if label is not None:
        outside = ~_foreground(label, picture, "label")
        picture[_rim(outside, width)] = LABEL_COLOR
    picture[_rim(_foreground(mask, picture, "mask"), width)] = PREDICTION_COLOR
    names = [("label", LABEL_COLOR), ("prediction", PREDICTION_COLOR)]
    return _with_legend(picture, names) if legend and label is not None else picture


def draw_case(image: np.ndarray, pred: np.ndarray, label: np.ndarray, side: int = 480) -> np.ndarray:
    """Draw both contours, ``(H, W)`` masks, on an image in [0, 255], first resized to ``side`` pixels."""
    small = resize_picture(np.clip(image, 0, 255).round().astype(np.uint8), side)
    small_pred, small_label = (np.asarray(resize_picture(mask != 0, side)).any(axis=-1) for mask in (pred, label))
    return draw_overlay(np.asarray(small), small_pred, small_label, legend=False)


def draw_class_case(image: np.ndarray, pred: np.ndarray, label: np.ndarray, side: int = 480) -> np.ndarray:
    """Draw predicted classes as tints and the label's as outlines, ``(H, W)`` indices, as :func:`draw_case` does."""
    small = resize_picture(np.clip(image, 0, 255).round().astype(np.uint8), side)
    small_pred, small_label = (
        np.asarray(Image.fromarray(mask).resize(small.size, Image.Resampling.NEAREST)) for mask in (pred, label)
    )
    return _with_outlines(draw_classes(small_pred, np.asarray(small), opacity=0.45), small_label)


def draw_class_overlay(image: ArrayLike, mask: ArrayLike, class_names: Sequence[str]) -> np.ndarray:
    """Draw the contour of each class of a prediction in its colour on an image.

    Args:
        image: as of :func:`draw_overlay`.
        mask: ``(H, W)`` indices of classes, 0 for the background.
        class_names: background first; named in the lower left corner, if the image has room for it.

    Returns:
        ``(H, W, 3)``, ``uint8``.
    """
    picture, indices = to_rgb(image).copy(), np.asarray(mask)
    width = max(1, round(min(picture.shape[:2]) / 250))
    colors = class_colors(len(class_names))
    for index in range(1, len(class_names)):
        picture[_rim(_foreground(indices == index, picture, "mask"), width)] = colors[index]
    return _with_legend(picture, list(zip(class_names[1:], map(tuple, colors[1:].tolist()), strict=True)))


def draw_classes(labels: ArrayLike, image: ArrayLike | None = None, opacity: float = 0.5) -> np.ndarray:
    """Colour class numbers ``(H, W)``, over an image as of :func:`draw_overlay` or on black: ``(H, W, 3)``."""
    numbers = np.asarray(labels).astype(int)
    colors = class_colors(int(numbers.max()) + 1)[numbers]
    if image is None:
        return colors
    picture = to_rgb(image)
    if picture.shape != colors.shape:
        raise ValueError(f"labels must be of the image's size {picture.shape[:2]}, got {numbers.shape}")
    mixed = (1 - opacity) * picture + opacity * colors
    return np.where(numbers[..., None] > 0, mixed, picture).round().astype(np.uint8)


def draw_heat_map(values: ArrayLike, size: tuple[int, int] | None = None) -> np.ndarray:
    """Colour a map by a scale of evenly rising lightness: 0 is black, 1 pale yellow.

    Args:
        values: ``(H, W)`` in [0, 1]; what lies outside is clipped, NaN is refused.
        size: ``(H, W)`` of the result; None for that of ``values``.
    """
    array = np.asarray(values, dtype=np.float32)
    if array.ndim != 2:
        raise ValueError(f"values must be (H, W), got {array.shape}")
    if np.isnan(array).any():
        raise ValueError("values must not hold NaN")
    if size is not None:
        array = np.asarray(Image.fromarray(array).resize(size[::-1], Image.Resampling.BILINEAR))
    steps = np.linspace(0, 1, len(_INFERNO))
    channels = [np.interp(array, steps, _INFERNO[:, i]) for i in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def draw_planes(
    image: np.ndarray | None,
    pred: np.ndarray,
    label: np.ndarray,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    side: int = 320,
) -> list[np.ndarray]:
    """Draw the cuts through a volume with the most organs: predictions as tints, the outlines of labels as lines.

    Args:
        image: ``(D, H, W)`` Hounsfield units, slices as :func:`~condseg_monai.axial_slices` gives them, or None.
        pred: class numbers, likewise.
        label: class numbers, likewise.
        spacing_mm: size of a voxel; the pictures have true proportions.
        side: in pixels, of the longest edge of what is shown: the volume without the air around the body.

    Returns:
        Axial, coronal and sagittal ``(H, W, 3)`` ``uint8``, of one size and one scale, which a bar shows, with black
        around; head up, front up or left, the patient's right on the left.
    """
    if image is not None:
        body = _bounding_box((window_ct(image) > 0) | (pred > 0) | (label > 0))
        image, pred, label = image[body], pred[body], label[body]
    marked = label if label.any() else pred
    scale = side / np.multiply(label.shape, spacing_mm).max()  # pixels per millimetre
    pictures = []
    for axis in range(3):
        index = _fullest_cut(marked, axis)

        def cut(volume: np.ndarray, axis: int = axis, index: int = index) -> np.ndarray:
            plane = np.take(volume, index, axis=axis)
            return plane if axis == 0 else plane[::-1]  # head up

        steps = [step for i, step in enumerate(spacing_mm) if i != axis]
        pictures.append(_draw_cut(None if image is None else cut(image), cut(pred), cut(label), steps, scale))
    size = np.max([picture.shape for picture in pictures], axis=0)
    return [_with_scale_bar(_centred(picture, size), scale) for picture in pictures]


def png_uri(path: str | os.PathLike[str]) -> str:
    """Encode a PNG file as the data address of an HTML image."""
    return f"data:image/png;base64,{base64.b64encode(Path(path).read_bytes()).decode('ascii')}"


def picture_uri(picture: np.ndarray, format: str = "JPEG", quality: int = 85) -> str:
    """Encode a picture, ``(H, W)`` or ``(H, W, 3)`` ``uint8``, as the data address of an HTML image, JPEG or PNG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format=format, quality=quality)
    return f"data:image/{format.lower()};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def to_rgb(picture: ArrayLike) -> np.ndarray:
    """``(H, W, 3)`` ``uint8`` from grey or colour, booleans, 8-bit integers or floats in [0, 1]."""
    array = np.asarray(picture)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"a picture must be (H, W) or (H, W, 3), got {array.shape}")
    if array.dtype == bool:
        array = array * np.uint8(255)
    elif np.issubdtype(array.dtype, np.floating):
        if array.size and not (array.min() >= -1e-3 and array.max() <= 1 + 1e-3):
            raise ValueError(f"a picture of floats must be in [0, 1], got [{array.min():g}, {array.max():g}]")
        array = (np.clip(array, 0, 1) * 255).round().astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ValueError(f"a picture of integers must be uint8, got {array.dtype}")
    return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)


def resize_picture(picture: ArrayLike, side: int) -> Image.Image:
    """Scale a picture's longest side, by bilinear interpolation, booleans by the nearest pixel."""
    is_mask = np.asarray(picture).dtype == bool
    image = Image.fromarray(to_rgb(picture))
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if is_mask else Image.Resampling.BILINEAR)


def _foreground(mask: ArrayLike, picture: np.ndarray, name: str) -> np.ndarray:
    foreground = np.asarray(mask) != 0
    if foreground.shape != picture.shape[:2]:
        raise ValueError(f"{name} must be of the image's size {picture.shape[:2]}, got {foreground.shape}")
    return foreground


def _rim(region: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a region within ``width`` of its boundary."""
    return region & dilation(find_boundaries(region, mode="outer"), disk(width))


def _with_legend(picture: np.ndarray, names: Sequence[tuple[str, tuple[int, int, int]]]) -> np.ndarray:
    """Write coloured names onto a dark box in the lower left corner, if it takes up less than half of the picture."""
    height, width = picture.shape[:2]
    sheet = Image.fromarray(picture)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(max(11, min(height, width) // 28))
    boxes = [draw.textbbox((0, 0), name, font=font) for name, _ in names]
    line = int(max(box[3] for box in boxes) * 1.25)
    box_width, box_height = int(max(box[2] for box in boxes)) + line, line * len(names) + line // 3
    if box_width > width // 2 or box_height > height // 2:
        return picture
    draw.rectangle((0, height - box_height, box_width, height), fill=(0, 0, 0))
    for i, (name, color) in enumerate(names):
        draw.text((line // 2, height - box_height + line * i + line // 6), name, fill=color, font=font)
    return np.asarray(sheet)


def _fullest_cut(labels: np.ndarray, axis: int) -> int:
    """The index along an axis with the most organs, then the most of them; the middle if there are none."""
    others = tuple(i for i in range(3) if i != axis)
    numbers = [number for number in np.unique(labels) if number]
    if not numbers:
        return labels.shape[axis] // 2
    sizes = np.stack([np.count_nonzero(labels == number, axis=others) for number in numbers])
    return int(np.lexsort((sizes.sum(axis=0), np.count_nonzero(sizes, axis=0)))[-1])


def _bounding_box(volume: np.ndarray) -> tuple[slice, ...]:
    """The smallest box with all that is not 0; the whole volume if all is."""
    places = np.nonzero(volume)
    return tuple(slice(axis.min(), axis.max() + 1) for axis in places) if places[0].size else (slice(None),) * 3


def _centred(picture: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A picture with black around it."""
    canvas = np.zeros(size, dtype=np.uint8)
    top, left = ((whole - part) // 2 for whole, part in zip(size[:2], picture.shape[:2], strict=True))
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def _draw_cut(
    image: np.ndarray | None, pred: np.ndarray, label: np.ndarray, steps: Sequence[float], scale: float
) -> np.ndarray:
    height, width = (max(1, round(scale * length * step)) for length, step in zip(label.shape, steps, strict=True))

    def resized(array: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
        return np.asarray(Image.fromarray(array).resize((width, height), resampling))

    grey = np.zeros(label.shape, dtype=np.float32) if image is None else window_ct(image)
    pred, label = (resized(mask.astype(np.uint8), Image.Resampling.NEAREST) for mask in (pred, label))
    return _with_outlines(draw_classes(pred, resized(grey, Image.Resampling.BILINEAR), opacity=0.45), label)


def _with_scale_bar(picture: np.ndarray, scale: float) -> np.ndarray:
    """Draw the longest bar of 10 mm to 10 cm that takes up a third of the width, if there is room for its length."""
    height, width = picture.shape[:2]
    fitting = [length for length in (10, 20, 50, 100) if length * scale <= width / 3]
    if min(height, width) < _SMALLEST_WITH_BAR or not fitting:
        return picture
    sheet, length = Image.fromarray(picture), round(fitting[-1] * scale)
    draw, font, margin = ImageDraw.Draw(sheet), ImageFont.load_default(max(11, width // 24)), width // 40
    bottom, right = height - margin, width - margin
    draw.rectangle((right - length, bottom - max(1, width // 160), right, bottom), fill=(255, 255, 255))
    place = (right - length / 2, bottom - width // 80 - 2)
    draw.text(
        place, f"{fitting[-1]} mm", fill=(255, 255, 255), font=font, anchor="ms", stroke_width=1, stroke_fill=(0, 0, 0)
    )
    return np.asarray(sheet)


def _with_outlines(picture: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Draw the outline of each class of a label in its colour, in place."""
    colors = class_colors(int(label.max()) + 1)
    for number in np.unique(label[label > 0]):
        picture[find_boundaries(label == number, mode="inner")] = colors[number]
    return picture

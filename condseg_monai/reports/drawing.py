"""Pictures for people: contours on images, heat maps, and sheets of many cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont
from skimage.morphology import dilation, disk
from skimage.segmentation import find_boundaries

__all__ = ["class_colors", "contact_sheet", "draw_classes", "draw_heat_map", "draw_overlay"]

PREDICTION_COLOR = (0, 229, 255)
LABEL_COLOR = (255, 221, 0)

# From Paul Tol's "bright", "vibrant" and "light" schemes, which are made to be told apart by colour-blind people too.
_CLASS_COLORS = np.array(
    [
        (238, 102, 119),
        (34, 136, 51),
        (102, 204, 238),
        (68, 119, 170),
        (204, 187, 68),
        (170, 51, 119),
        (238, 119, 51),
        (68, 187, 153),
        (255, 170, 187),
        (170, 170, 0),
        (153, 221, 255),
        (221, 221, 221),
        (0, 119, 187),
    ],
    dtype=np.uint8,
)

# Eleven evenly spaced colours of "inferno" (N. J. Smith and S. van der Walt, CC0): its lightness rises evenly.
_INFERNO = np.array(
    [
        (0, 0, 4),
        (22, 11, 57),
        (66, 10, 104),
        (106, 23, 110),
        (147, 38, 103),
        (188, 55, 84),
        (221, 81, 58),
        (243, 120, 25),
        (252, 165, 10),
        (246, 215, 70),
        (252, 255, 164),
    ],
    dtype=float,
)


class _LegendEntry(NamedTuple):
    """A coloured square and its name; the place is that of its line's upper left corner."""

    name: str
    color: tuple[int, int, int]
    left: int
    top: int


def draw_overlay(image: ArrayLike, mask: ArrayLike, label: ArrayLike | None = None, legend: bool = True) -> np.ndarray:
    """Draw the contour of a prediction, cyan, over that of the label, yellow and wider, on an image.

    Where both agree the cyan line runs inside the yellow one. Line widths follow the size of the image.

    Args:
        image: ``(H, W, 3)`` or ``(H, W)``: 8-bit integers, or floats in [0, 1].
        mask: ``(H, W)`` prediction; what is not 0 is foreground.
        label: ``(H, W)`` ground truth, or None.
        legend: write into the lower left corner which line is which, if the image has room for it.

    Returns:
        ``(H, W, 3)``, ``uint8``; the input is left as it was.

    Raises:
        ValueError: if the sizes differ or ``image`` has another shape or range.

    Example:
        >>> Image.fromarray(draw_overlay(read_natural_image("a.jpg"), pred > 0.5)).save("overlay.png")
    """
    picture = _to_rgb(image).copy()
    names = (
        [("prediction", PREDICTION_COLOR)]
        if label is None
        else [("label", LABEL_COLOR), ("prediction", PREDICTION_COLOR)]
    )
    width = max(1, round(min(picture.shape[:2]) / 250))
    if label is not None:
        picture[_contour(label, picture, "label", 2 * width)] = LABEL_COLOR
    picture[_contour(mask, picture, "mask", width if label is not None else 2 * width - 1)] = PREDICTION_COLOR
    return _with_legend(picture, names) if legend else picture


def class_colors(count: int) -> np.ndarray:
    """Choose a colour for each class: black for the background, then colours that are far apart.

    Args:
        count: how many, the background included; from the fourteenth class on colours come again.

    Returns:
        ``(count, 3)`` ``uint8``.
    """
    organs = _CLASS_COLORS[np.arange(count - 1) % len(_CLASS_COLORS)]
    return np.concatenate((np.zeros((1, 3), np.uint8), organs))


def draw_classes(labels: ArrayLike, image: ArrayLike | None = None, opacity: float = 0.5) -> np.ndarray:
    """Colour class numbers, over an image or on black.

    Args:
        labels: ``(H, W)`` class numbers; 0 stays as it is.
        image: ``(H, W)`` or ``(H, W, 3)``: 8-bit integers, or floats in [0, 1]; None for black.
        opacity: of the colours over the image.

    Returns:
        ``(H, W, 3)``, ``uint8``.

    Raises:
        ValueError: if the sizes differ or ``image`` has another shape or range.
    """
    numbers = np.asarray(labels).astype(int)
    colors = class_colors(int(numbers.max()) + 1)[numbers]
    if image is None:
        return colors
    picture = _to_rgb(image)
    if picture.shape != colors.shape:
        raise ValueError(f"labels must be of the image's size {picture.shape[:2]}, got {numbers.shape}")
    mixed = (1 - opacity) * picture + opacity * colors
    return np.where(numbers[..., None] > 0, mixed, picture).round().astype(np.uint8)


def draw_heat_map(values: ArrayLike) -> np.ndarray:
    """Colour a map by a scale that looks even to the eye: 0 is black, 1 pale yellow.

    Args:
        values: ``(H, W)`` in [0, 1], such as the uncertainty region's probability; what lies outside is clipped.

    Returns:
        ``(H, W, 3)``, ``uint8``.

    Raises:
        ValueError: if ``values`` is not ``(H, W)`` or holds NaN.
    """
    array = np.asarray(values, dtype=float)
    if array.ndim != 2:
        raise ValueError(f"values must be (H, W), got {array.shape}")
    if np.isnan(array).any():
        raise ValueError("values must not hold NaN")
    steps = np.linspace(0, 1, len(_INFERNO))
    channels = [np.interp(array, steps, _INFERNO[:, i]) for i in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def contact_sheet(
    rows: Sequence[Sequence[ArrayLike]],
    titles: Sequence[str],
    row_titles: Sequence[str] | None = None,
    cell_size: int = 160,
    legend: Mapping[str, Sequence[int]] | None = None,
) -> Image.Image:
    """Lay pictures out as a table under column headings, with a legend below if there is one to give.

    Args:
        rows: one sequence of pictures a row, as many as ``titles``: ``(H, W)`` or ``(H, W, 3)``, booleans, 8-bit
            integers or floats in [0, 1], of any size.
        titles: heading of each column, such as Image, Label, Prediction, Foreground, Background, Uncertainty.
        row_titles: written above each row, such as file names; None for none.
        cell_size: side of the square each picture is fitted into, in pixels; proportions are kept.
        legend: colours by name, each (red, green, blue) from 0 to 255.

    Returns:
        An RGB picture.

    Raises:
        ValueError: if there are no rows, or a row or ``row_titles`` has another length, or a picture another shape.
    """
    if not rows or not titles:
        raise ValueError("rows and titles must not be empty")
    for i, row in enumerate(rows):
        if len(row) != len(titles):
            raise ValueError(f"row {i} has {len(row)} pictures for {len(titles)} titles")
    if row_titles is not None and len(row_titles) != len(rows):
        raise ValueError(f"row_titles has {len(row_titles)} entries for {len(rows)} rows")
    cells = [[_fit(picture, cell_size) for picture in row] for row in rows]
    heights = [max(cell.height for cell in row) for row in cells]
    size = max(11, cell_size // 11)
    font, gap = ImageFont.load_default(size), max(4, cell_size // 24)
    line = size + 2 * gap
    above = 0 if row_titles is None else line
    width = len(titles) * (cell_size + gap) + gap
    height = line + sum(heights) + len(rows) * (above + gap)
    entries = _lay_out_legend(legend or {}, font, width, line)
    sheet = Image.new("RGB", (width, height + (entries[-1].top + line if entries else 0)), (232, 232, 232))
    draw = ImageDraw.Draw(sheet)
    lefts = [gap + j * (cell_size + gap) for j in range(len(titles))]
    for left, title in zip(lefts, titles, strict=True):
        text = _shortened(draw, title, font, cell_size)
        draw.text((left + cell_size // 2, line // 2), text, fill="black", font=font, anchor="mm")
    top = line
    for i, row_cells in enumerate(cells):
        if row_titles is not None:
            text = _shortened(draw, row_titles[i], font, sheet.width - 2 * gap)
            draw.text((gap, top + line // 2), text, fill=(80, 80, 80), font=font, anchor="lm")
        for left, cell in zip(lefts, row_cells, strict=True):
            sheet.paste(cell, (left + (cell_size - cell.width) // 2, top + above + (heights[i] - cell.height) // 2))
        top += above + heights[i] + gap
    for name, color, left, below in entries:
        middle = top + below + line // 2
        square = (left, middle - size // 2, left + size, middle + size // 2)
        draw.rectangle(square, fill=color, outline=(80, 80, 80))  # a pale one would not stand out from the sheet
        draw.text((left + size + gap, middle), name, fill="black", font=font, anchor="lm")
    return sheet


def _to_rgb(picture: ArrayLike) -> np.ndarray:
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


def _contour(mask: ArrayLike, picture: np.ndarray, name: str, width: int) -> np.ndarray:
    """The boundary of a mask, ``width`` pixels to either side."""
    foreground = np.asarray(mask) != 0
    if foreground.shape != picture.shape[:2]:
        raise ValueError(f"{name} must be of the image's size {picture.shape[:2]}, got {foreground.shape}")
    boundary = find_boundaries(foreground, mode="inner")
    return boundary if width <= 1 else dilation(boundary, disk(width - 1))


def _with_legend(picture: np.ndarray, names: Sequence[tuple[str, tuple[int, int, int]]]) -> np.ndarray:
    """Write coloured names onto a dark box in the lower left corner, if they take up less than half of the picture."""
    height, width = picture.shape[:2]
    font = ImageFont.load_default(max(11, min(height, width) // 28))
    sheet = Image.fromarray(picture)
    draw = ImageDraw.Draw(sheet)
    boxes = [draw.textbbox((0, 0), name, font=font) for name, _ in names]
    line = int(max(box[3] for box in boxes) * 1.25)
    box_width, box_height = int(max(box[2] for box in boxes)) + line, line * len(names) + line // 3
    if box_width > width // 2 or box_height > height // 2:
        return picture
    draw.rectangle((0, height - box_height, box_width, height), fill=(0, 0, 0))
    for i, (name, color) in enumerate(names):
        draw.text((line // 2, height - box_height + line * i + line // 6), name, fill=color, font=font)
    return np.asarray(sheet)


def _fit(picture: ArrayLike, side: int) -> Image.Image:
    """Scale into a square, masks without making up values in between."""
    is_mask = np.asarray(picture).dtype == bool
    image = Image.fromarray(_to_rgb(picture))
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if is_mask else Image.Resampling.BILINEAR)


def _lay_out_legend(
    legend: Mapping[str, Sequence[int]], font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int, line: int
) -> list[_LegendEntry]:
    """Entries from left to right, in as many lines as they need."""
    entries: list[_LegendEntry] = []
    left, top = line // 2, 0
    for name, color in legend.items():
        needed = round(font.getlength(name)) + 2 * line
        if entries and left + needed > width:
            left, top = line // 2, top + line
        entries.append(_LegendEntry(name, (int(color[0]), int(color[1]), int(color[2])), left, top))
        left += needed
    return entries


def _shortened(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int
) -> str:
    """The text, shortened in the middle until it fits."""
    shown, keep = text, len(text)
    while keep > 2 and draw.textlength(shown, font=font) > width:
        keep -= 1
        shown = text[: keep - keep // 2] + "\u2026" + text[len(text) - keep // 2 :]
    return shown

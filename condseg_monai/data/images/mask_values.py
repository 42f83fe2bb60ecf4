"""Values of mask pixels: black and white, or a class each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["class_indices", "class_map", "flat_values"]

_NOISE = 10  # JPEG masks have values up to 7, and from 248; and areas of one value at both ends only
_LOSSLESS = 16  # a mask of at most so many values was never compressed with loss


def class_map(class_names: Sequence[str], class_values: Sequence[Any] | None = None) -> dict[str, Any]:
    """The value that each class has in masks, by the class's name, background first.

    Args:
        class_names: two or more.
        class_values: a number or ``[red, green, blue]`` each; None for 0, 1, 2 and so on.

    Raises:
        ValueError: if a name is there twice, or the values are not one per class, all numbers or all colours, all
            different; naming the class, if a number is not from 0 to 65535, or a colour not of 0 to 255.

    Example:
        >>> class_map(["background", "lesion", "tool"])
        {'background': 0, 'lesion': 1, 'tool': 2}
    """
    names = list(class_names)
    if isinstance(class_names, str) or len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise ValueError(f"class_names must be two or more different names, background first, got {class_names!r}")
    values = list(range(len(names))) if class_values is None else [_plain(value) for value in class_values]
    are_alike = all(type(value) is int for value in values) or all(type(value) is tuple for value in values)
    if not are_alike or len(values) != len(names) or len(set(values)) < len(values):
        raise ValueError(
            f"class_values must be a number or a colour [red, green, blue] for each of the {len(names)} classes "
            f"({', '.join(names)}), all different, got {class_values!r}"
        )
    for name, value in zip(names, values, strict=True):
        levels, highest = (value, 255) if isinstance(value, tuple) else ((value,), 65535)
        if not all(0 <= level <= highest for level in levels):
            raise ValueError(
                f"class_values: {name} has {value}, and a mask file holds numbers from 0 to 65535, colours of 0 to 255"
            )
    return {name: list(value) if isinstance(value, tuple) else value for name, value in zip(names, values, strict=True)}


def _plain(value: Any) -> Any:
    """An integer, or a tuple of three; None for anything else."""
    if isinstance(value, (list, tuple)):
        return tuple(value) if len(value) == 3 and all(type(item) is int for item in value) else None
    return value if type(value) is int else None


def class_indices(mask: np.ndarray, class_values: Sequence[Any]) -> np.ndarray:
    """Turn the values of a mask into indices of classes.

    Args:
        mask: ``(H, W)`` numbers or ``(H, W, 3)`` RGB.
        class_values: of each class its number or its ``[red, green, blue]``, background first.

    Returns:
        ``(H, W)``, ``uint8``.

    Raises:
        ValueError: if the mask has values of no class, naming them, or it has colours where classes have numbers.

    Example:
        >>> class_indices(np.array([[0, 255], [128, 0]]), [0, 128, 255])
        array([[0, 2],
               [1, 0]], dtype=uint8)
    """
    are_colours = not isinstance(class_values[0], (int, float))
    pixels = _as_colours(mask) if are_colours else _as_numbers(mask, class_values)
    codes = _codes(pixels) if are_colours else pixels
    wanted = _codes(np.array(class_values)) if are_colours else np.asarray(class_values)
    order = np.argsort(wanted)
    places = np.searchsorted(wanted[order], codes).clip(max=len(wanted) - 1)
    unknown = wanted[order][places] != codes
    if unknown.any():
        found = _values(np.unique(codes[unknown]), pixels).tolist()
        raise ValueError(
            f"it has values of no class: {_some(found)}; class_values are {_some(list(class_values))}. Give each "
            "value a class, or correct the mask"
        )
    return order[places].astype(np.uint8)


def flat_values(mask: np.ndarray) -> list[Any]:
    """The values, or colours, that fill a square of 3 x 3 pixels somewhere in a mask: two in a binary mask.

    Soft edges, the ringing of JPEG and enlarged masks have none but the darkest and the brightest. Of a mask with more
    than 16 values, as lossy compression leaves it, those within 10 of each other count once.

    Args:
        mask: ``(H, W)`` grey or ``(H, W, 3)`` RGB.

    Example:
        >>> flat_values(np.kron([[0, 1], [2, 1]], np.ones((3, 3), int)))
        [0, 1, 2]
    """
    codes = mask if mask.ndim == 2 else _codes(mask)
    across = codes[:, 1:] == codes[:, :-1]
    rows = across[:, 1:] & across[:, :-1]  # three in a row
    down = (codes[1:] == codes[:-1])[:, 1:-1]
    flat = rows[:-2] & rows[1:-1] & rows[2:] & down[:-1] & down[1:]
    values = _values(np.unique(codes[1:-1, 1:-1][flat]), mask)
    if len(values) > 2 and len(np.unique(codes)) > _LOSSLESS:
        kept: list[np.ndarray] = []
        for value in values.astype(int):
            if all(np.abs(value - other).max() > _NOISE for other in kept):
                kept.append(value)
        values = np.array(kept)
    return values.tolist()


def refuse_classes(mask: np.ndarray) -> None:
    """Raise a ValueError if a mask that has to be black and white has more than two values."""
    if len(values := flat_values(mask)) > 2:
        raise ValueError(
            f"the mask has areas of {len(values)} values, {_some(values)}: give the names of its classes as "
            "--class_names (and their values as --class_values), or --mask_threshold, above which all is foreground"
        )


def _as_colours(mask: np.ndarray) -> np.ndarray:
    return mask if mask.ndim == 3 else np.repeat(mask[..., None], 3, axis=2)


def _as_numbers(mask: np.ndarray, class_values: Sequence[Any]) -> np.ndarray:
    if mask.ndim == 2:
        return mask
    if (mask != mask[..., :1]).any():
        raise ValueError(
            f"it has colours, but class_values are numbers, {_some(list(class_values))}: give them as RGB colours, "
            "[[0, 0, 0], [255, 0, 0]]"
        )
    return mask[..., 0]


def _codes(colours: np.ndarray) -> np.ndarray:
    """One number per colour."""
    red, green, blue = np.moveaxis(colours.round().astype(np.int32), -1, 0)
    return (red << 16) | (green << 8) | blue


def _values(codes: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The values, or colours, of ``mask`` that codes stand for."""
    return codes if mask.ndim == 2 else np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)


def _some(values: Sequence[Any], count: int = 8) -> str:
    shown = ", ".join(map(str, values[:count]))
    return shown if len(values) <= count else f"{shown} and {len(values) - count} more"

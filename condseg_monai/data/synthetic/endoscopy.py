"""Synthetic endoscopy dataset: soft, low-contrast lesions among things that look like them."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image
from skimage.filters import gaussian

__all__ = ["make_synthetic_dataset"]

# Changes of RGB. The lesion's is as large as what the folds and the light do, and one distractor is as red.
_LESION = np.array([0.05, -0.09, -0.04])
# Yellow residue, a pale patch, a shadow, a red and smooth patch.
_DISTRACTORS = np.array([[0.02, 0.03, -0.13], [0.09, 0.08, 0.07], [-0.12, -0.09, -0.07], [0.02, -0.09, -0.07]])


def make_synthetic_dataset(
    directory: str | PathLike[str],
    num_train: int = 96,
    num_val: int = 24,
    num_test: int = 24,
    image_size: int | tuple[int, int] = 96,
    seed: int = 0,
) -> Path:
    """Write a seeded data set in the layout :func:`~condseg_monai.data.check_datalist` reads; return the folder.

    Lesions with soft, irregular edges lie among residue, patches and shadows of the same shapes, which in training lie
    beside the lesion mostly, in validation and test anywhere. The best threshold on any colour channel or ratio reaches
    a Dice of about 0.45, a small network above 0.85 within a minute on a CPU.

    ``image_size`` is ``(H, W)`` or one number, at least 32. A case depends on ``seed`` and its own number alone. With
    ``num_test=0`` there is no ``test.txt``. A folder that is not empty is a FileExistsError.

    Example:
        >>> check_datalist(make_synthetic_dataset("synthetic"))["val"][0]["image"]
        'synthetic/images/val_0000.png'
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    counts = {"train": num_train, "val": num_val, "test": num_test}
    if min(height, width) < 32:
        raise ValueError(f"image_size must be at least 32, got {image_size}")
    if num_train < 1 or num_val < 1 or num_test < 0:
        raise ValueError(f"num_train and num_val must be positive and num_test not negative, got {counts}")
    root = Path(directory)
    if root.exists() and any(root.iterdir()):
        raise FileExistsError(f"{root} is not empty; give a new or an empty folder")
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, (split, count) in enumerate(counts.items()):
        names = [f"{split}_{i:04d}" for i in range(count)]
        for i, name in enumerate(names):
            rng = np.random.default_rng((seed, number, i))
            image, mask = _make_case(rng, (height, width), companion_probability=0.9 if split == "train" else 0.0)
            Image.fromarray(image).save(root / "images" / f"{name}.png")
            Image.fromarray(mask).save(root / "masks" / f"{name}.png")
        if names:
            (root / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return root


class _Grid(NamedTuple):
    """Pixel coordinates in units of the shorter side, from the centre: ``y`` and ``x``, each ``(H, W)``."""

    y: np.ndarray
    x: np.ndarray


def _make_case(rng: Generator, size: tuple[int, int], companion_probability: float) -> tuple[np.ndarray, np.ndarray]:
    """One ``(H, W, 3)`` picture and its ``(H, W)`` mask of 0 and 255, both ``uint8``."""
    axes = [(np.arange(n) + 0.5 - n / 2) / min(size) for n in size]
    grid = _Grid(*np.meshgrid(*axes, indexing="ij"))
    image = _mucosa(rng, grid)
    lesions = _lesions(rng, grid)
    for blob in _distractors(rng, grid, lesions, companion_probability):
        image += blob.cover[..., None] * rng.choice(_DISTRACTORS) * rng.uniform(0.7, 1.1)
    surface = _pits(rng, size)
    mask = np.zeros(size, dtype=bool)
    for blob in lesions:
        change = _LESION * rng.uniform(0.7, 1.2) + 0.05 * surface[..., None]
        image += blob.cover[..., None] * change + (0.08 * blob.dome)[..., None]
        mask |= blob.cover >= 0.5
    image *= _light(rng, grid)[..., None]
    image = _reflections(rng, grid, image, lesions)
    image += rng.normal(0.0, 0.012, image.shape)
    image *= _frame(grid)[..., None]
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8), mask.astype(np.uint8) * 255


class _Blob(NamedTuple):
    """A soft, irregular ellipse: its share of each pixel, in [0, 1], and its relief, lit from one side, in [-1, 1]."""

    centre: np.ndarray
    radius: float
    cover: np.ndarray
    dome: np.ndarray


def _blob(rng: Generator, grid: _Grid, centre: np.ndarray, radius: float) -> _Blob:
    y, x = grid.y - centre[0], grid.x - centre[1]
    turn, flat = rng.uniform(0, np.pi), rng.uniform(0.7, 1.0)
    u, v = x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) / flat
    distance, angle = np.hypot(u, v), np.arctan2(v, u)
    edge = np.full_like(distance, radius)
    for k in range(2, 6):
        edge += radius * rng.normal(0, 0.16 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    cover = 1 / (1 + np.exp(-np.clip((edge - distance) / rng.uniform(0.012, 0.028), -30, 30)))
    light = rng.uniform(0, 2 * np.pi)
    dome = cover * np.clip((y * np.sin(light) + x * np.cos(light)) / radius, -1, 1)
    return _Blob(centre, radius, cover, dome)


def _lesions(rng: Generator, grid: _Grid) -> list[_Blob]:
    """One lesion around the middle, or two that lie apart."""
    if rng.random() < 0.7:
        return [_blob(rng, grid, rng.uniform(-0.25, 0.25, 2), rng.uniform(0.13, 0.26))]
    offset = rng.uniform(0.2, 0.26) * _direction(rng)
    return [_blob(rng, grid, side * offset + rng.uniform(-0.05, 0.05, 2), rng.uniform(0.1, 0.15)) for side in (-1, 1)]


def _distractors(rng: Generator, grid: _Grid, lesions: Sequence[_Blob], companion_probability: float) -> list[_Blob]:
    """One to three blobs, beside the first lesion or anywhere, that end where a lesion begins."""
    blobs = []
    for _ in range(rng.integers(1, 4)):
        radius = rng.uniform(0.08, 0.2)
        centre = rng.uniform(-0.42, 0.42, 2)
        if rng.random() < companion_probability:
            angle = rng.uniform(0, 2 * np.pi)
            centre = lesions[0].centre + (lesions[0].radius + radius) * np.array([np.sin(angle), np.cos(angle)])
        blob = _blob(rng, grid, centre, radius)
        free = 1 - np.max([lesion.cover for lesion in lesions], axis=0)
        blobs.append(blob._replace(cover=blob.cover * free))
    return blobs


def _noise(rng: Generator, size: tuple[int, int], scale: float) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1; ``scale`` is in units of the shorter side."""
    noise = gaussian(rng.standard_normal(size), sigma=scale * min(size), mode="reflect", truncate=3.0)
    return (noise - noise.mean()) / (noise.std() + 1e-12)


def _pits(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """A fine, even grain of deviation 1, as of a pitted surface."""
    grain = _noise(rng, size, 0.012) - _noise(rng, size, 0.05)
    return grain / (grain.std() + 1e-12)


def _mucosa(rng: Generator, grid: _Grid) -> np.ndarray:
    """Tissue with blotches, vessels and folds, ``(H, W, 3)``."""
    size = grid.x.shape
    base = np.array([0.72, 0.44, 0.36]) + rng.normal(0, 0.03, 3)
    blotches = 1 + 0.07 * _noise(rng, size, 0.22)[..., None] + 0.04 * _noise(rng, size, 0.06)[..., None]
    tissue = np.repeat(blotches, 3, axis=2)
    tissue += 0.03 * np.stack([_noise(rng, size, 0.15) for _ in range(3)], axis=-1)
    vessels = np.exp(-((_noise(rng, size, 0.07) / 0.10) ** 2)) * (_noise(rng, size, 0.2) > 0)
    vessels = gaussian(vessels, sigma=0.006 * min(size))
    centre, width = rng.uniform(0.7, 1.3) * _direction(rng), rng.uniform(0.05, 0.10)
    radius = np.hypot(grid.y - centre[0], grid.x - centre[1]) + 0.03 * _noise(rng, size, 0.18)
    folds = np.zeros(size)
    for position in np.arange(rng.uniform(0.3, 0.5), 2.2, rng.uniform(0.28, 0.45)):
        offset = (radius - position) / width
        folds += (0.5 * np.exp(-(offset**2)) + offset * np.exp(-0.7 * offset**2)) * rng.uniform(0.5, 1.0)
    return base * (tissue + 0.16 * folds[..., None]) - vessels[..., None] * np.array([0.03, 0.10, 0.08])


def _direction(rng: Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.sin(angle), np.cos(angle)])


def _light(rng: Generator, grid: _Grid) -> np.ndarray:
    """Brightness of the lamp, brightest near the centre, and in some pictures the dark way ahead."""
    y0, x0 = rng.uniform(-0.2, 0.2, 2)
    light = rng.uniform(0.5, 0.65) + rng.uniform(0.5, 0.65) * np.exp(-((grid.y - y0) ** 2 + (grid.x - x0) ** 2) / 0.22)
    if rng.random() < 0.4:
        lumen = _blob(rng, grid, rng.uniform(0.38, 0.5) * _direction(rng), rng.uniform(0.12, 0.2))
        light *= 1 - 0.6 * gaussian(lumen.cover, sigma=0.03 * min(grid.x.shape))
    return light


def _reflections(rng: Generator, grid: _Grid, image: np.ndarray, lesions: Sequence[_Blob]) -> np.ndarray:
    """White spots where wet tissue mirrors the lamp, on and off the lesions."""
    for i in range(rng.integers(3, 9)):
        spread = rng.uniform(-0.4, 0.4, 2)
        centre = lesions[0].centre + 0.3 * spread if i < 2 else spread
        spot = _blob(rng, grid, centre, rng.uniform(0.006, 0.022))
        image = image + (spot.cover * rng.uniform(0.5, 1.0))[..., None] * (np.array([1.0, 0.98, 0.95]) - image)
    return image


def _frame(grid: _Grid) -> np.ndarray:
    """1 inside the octagon an endoscope shows, 0 outside."""
    half_height, half_width = np.abs(grid.y).max(), np.abs(grid.x).max()
    corner = half_height + half_width - 0.14 - (np.abs(grid.y) + np.abs(grid.x))
    return np.clip(corner / 0.015 + 0.5, 0, 1)

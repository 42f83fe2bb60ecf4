"""The weights and inputs behind the released vectors, drawn anew from their names so that nothing large is stored."""

from __future__ import annotations

import zlib

import numpy as np

SEED = 1


def rng(name: str) -> np.random.Generator:
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


def parameter(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """One parameter or counter by its released key and shape; running statistics are stored instead."""
    random, leaf = rng(key), key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if len(shape) == 1:
        value = random.uniform(0.5, 1.5, shape) if leaf == "weight" else 0.1 * random.standard_normal(shape)
    else:
        value = random.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
    return value.astype(np.float32)


def image(height: int, width: int, *, name: str = "image", batch: int = 2, channels: int = 3) -> np.ndarray:
    """(batch, channels, height, width) float32 in [0, 1)."""
    return rng(f"{name}{height}x{width}").uniform(0, 1, (batch, channels, height, width)).astype(np.float32)


def mask(height: int, width: int, *, batch: int = 2) -> np.ndarray:
    """(batch, 1, height, width) float32 in {0, 1}: ellipses."""
    random, out = rng(f"mask{height}x{width}"), np.zeros((batch, 1, height, width), np.float32)
    yy, xx = np.mgrid[0:height, 0:width]
    for i in range(batch):
        cy, cx = random.uniform(0.3, 0.7, 2)
        ry, rx = random.uniform(0.12, 0.3, 2)
        out[i, 0] = ((yy / height - cy) / ry) ** 2 + ((xx / width - cx) / rx) ** 2 <= 1
    return out

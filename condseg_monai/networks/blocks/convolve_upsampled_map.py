"""The convolution of one enlarged map and its gradients, tile by tile."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["convolve_map", "convolve_map_backward"]

_STEP = 16
"""Rows and columns of a tile: few enough that what is made on the way stays in the processor's cache."""


class _Tile(NamedTuple):
    """Outputs ``start`` to ``stop`` of a line, and the inputs ``first`` to ``last`` they are made of, or vice versa."""

    start: int
    stop: int
    first: int
    last: int
    weights: Tensor
    """``(stop - start, K, last - first)``"""


@functools.lru_cache(maxsize=256)
def _tiles(low: int, factor: int, size: int, dtype: torch.dtype, of_output: bool) -> tuple[_Tile, ...]:
    """Cut a line of ``factor * low`` outputs, or of ``low`` inputs, into tiles; each has the range it depends on.

    All those ranges are equally long.
    """
    with torch.inference_mode(False):
        weights = _weights(low, factor, size)  # (outputs, K, inputs)
        if not of_output:
            weights = weights.permute(2, 1, 0)
        length, _, other = weights.shape
        ranges = []
        for start in range(0, length, _STEP):
            used = weights[start : start + _STEP].abs().amax(dim=(0, 1)).nonzero()
            ranges.append((int(used[0]), int(used[-1]) + 1))
        width = max(last - first for first, last in ranges)
        tiles = []
        for start, (first, _) in zip(range(0, length, _STEP), ranges, strict=True):
            stop, first = min(start + _STEP, length), min(first, other - width)
            part = weights[start:stop, :, first : first + width]
            tiles.append(_Tile(start, stop, first, first + width, part.to(dtype, copy=True)))  # frees ``weights``
        return tuple(tiles)


def _weights(low: int, factor: int, size: int) -> Tensor:
    """``(factor * low, size, low)``: the share of each input in what each weight of the kernel meets, for each output.

    For output ``i``, weight ``t`` meets position ``i + t - size // 2`` of the enlarged line, which is zero beyond its
    ends.
    """
    high = factor * low
    each = torch.eye(low, dtype=torch.float64, device="cpu").unsqueeze(0)  # whatever the default device
    enlarge = F.interpolate(each, size=high, mode="linear", align_corners=True).squeeze(0).T  # (high, low)
    weights = enlarge.new_zeros(high, size, low)
    for t in range(size):
        shift = t - size // 2
        weights[max(0, -shift) : high - max(0, shift), t] = enlarge[max(0, shift) : high + min(0, shift)]
    return weights


def convolve_map(x: Tensor, factor: int, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.conv2d(upsample(x, factor), weight, bias, padding=K // 2)``."""
    batch, in_channels, low_height, low_width = x.shape
    channels, _, size, _ = weight.shape
    height, width = factor * low_height, factor * low_width
    rows = [_to_device(tile, x) for tile in _tiles(low_height, factor, size, x.dtype, True)]
    columns = [_to_device(tile, x) for tile in _tiles(low_width, factor, size, x.dtype, True)]
    row_mixers = [tile.weights.flatten(1) for tile in rows]  # (outputs, K * inputs)
    column_mixers = [tile.weights.permute(0, 2, 1).flatten(1) for tile in columns]  # (outputs, inputs * K)
    by_row = weight.permute(2, 1, 3, 0).reshape(size, in_channels, size * channels).unbind()  # K; input; K, output
    window = rows[0].last - rows[0].first

    output = x.new_empty((batch, height, width, channels)).permute(0, 3, 1, 2)  # channels_last
    # For each row of the kernel, a window of input rows with the columns of a tile; two windows share some rows.
    mixed = [x.new_empty((size, window, (tile.stop - tile.start) * channels)) for tile in columns]
    products = x.new_empty((size, window * low_width, size * channels))
    added = None if bias is None else bias.repeat(_STEP)
    for image, result in zip(x.permute(0, 2, 3, 1).contiguous(), output.permute(0, 2, 3, 1), strict=True):
        result = result.view(height, width * channels)
        done = 0
        for tile, row_mixer in zip(rows, row_mixers, strict=True):
            kept = max(0, done - tile.first)
            fresh = window - kept
            pixels = image[tile.first + kept : tile.last].view(fresh * low_width, in_channels)
            for k in range(size if fresh else 0):
                torch.mm(pixels, by_row[k], out=products[k, : len(pixels)])
            for column, column_mixer, lines in zip(columns, column_mixers, mixed, strict=True):
                if fresh and kept:
                    lines[:, :kept] = lines[:, fresh:].clone()
                for k in range(size if fresh else 0):
                    product = products[k, : len(pixels)].view(fresh, low_width * size, channels)
                    torch.bmm(
                        column_mixer.expand(fresh, -1, -1),
                        product[:, column.first * size : column.last * size],
                        out=lines[k, kept:].view(fresh, -1, channels),
                    )
                place = result[tile.start : tile.stop, column.start * channels : column.stop * channels]
                if added is None:
                    torch.mm(row_mixer, lines.flatten(0, 1), out=place)
                else:
                    torch.addmm(added[: place.shape[1]], row_mixer, lines.flatten(0, 1), out=place)
            done = tile.last
    return output


def convolve_map_backward(
    grad: Tensor, x: Tensor, factor: int, weight: Tensor, needs_map: bool, needs_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of ``x`` and ``weight`` from that of :func:`convolve_map`, ``grad`` in ``channels_last`` format."""
    _, in_channels, low_height, low_width = x.shape
    channels, _, size, _ = weight.shape
    height, width = factor * low_height, factor * low_width
    rows = [_to_device(tile, x) for tile in _tiles(low_height, factor, size, x.dtype, False)]
    columns = [_to_device(tile, x) for tile in _tiles(low_width, factor, size, x.dtype, False)]
    row_mixers = [tile.weights.permute(1, 0, 2).flatten(0, 1) for tile in rows]  # (K * inputs, outputs)
    column_mixers = [tile.weights.flatten(0, 1) for tile in columns]  # (inputs * K, outputs)
    by_row = weight.permute(2, 3, 0, 1).reshape(size, size * channels, in_channels).unbind()  # K; K, output; input

    grad_map = torch.empty_like(x, memory_format=torch.channels_last)
    grad_weight = weight.new_zeros((size, size * channels, in_channels))
    images, results = x.permute(0, 2, 3, 1).contiguous(), grad_map.permute(0, 2, 3, 1)
    for image, result, lines in zip(images, results, grad.permute(0, 2, 3, 1), strict=True):
        lines = lines.reshape(height, width * channels)
        for row, row_mixer in zip(rows, row_mixers, strict=True):
            for column, column_mixer in zip(columns, column_mixers, strict=True):
                tile = slice(row.start, row.stop), slice(column.start, column.stop)
                pixels = image[tile].reshape(-1, in_channels)
                mixed = row_mixer @ lines[row.first : row.last, column.first * channels : column.last * channels]
                mixed = mixed.view(len(mixed), -1, channels)
                products = torch.bmm(column_mixer.expand(len(mixed), -1, -1), mixed).view(size, -1, size * channels)
                for k in range(size if needs_weight else 0):
                    grad_weight[k].addmm_(products[k].T, pixels)
                if needs_map:
                    grad_pixels = torch.mm(products[0], by_row[0])
                    for k in range(1, size):
                        grad_pixels.addmm_(products[k], by_row[k])
                    result[tile] = grad_pixels.view_as(result[tile])
    kernel = grad_weight.view(size, size, channels, in_channels).permute(2, 3, 0, 1)
    return grad_map if needs_map else None, kernel if needs_weight else None


def _to_device(tile: _Tile, like: Tensor) -> _Tile:
    return tile._replace(weights=tile.weights.to(like.device))

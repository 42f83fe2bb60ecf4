"""Pictures inside a page: histograms as SVG, photographs as data addresses."""

from __future__ import annotations

import base64
import html
import io

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from condseg_monai.reports.drawing import draw_heat_map, draw_overlay

__all__ = ["case_overlay", "histogram_svg", "jpeg_uri", "uncertainty_map"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 300, 150, 30, 22, 8


def histogram_svg(values: ArrayLike, title: str, limits: tuple[float, float] = (0.0, 1.0), bins: int = 20) -> str:
    """Draw a histogram as an SVG element, with the mean and the median as lines.

    Args:
        values: what is not finite is left out.
        title: what screen readers say.
        limits: left and right end; values beyond them count in the outer bars.
        bins: number of bars.

    Returns:
        The element's text.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    low, high = limits
    counts, edges = np.histogram(np.clip(array, low, high), bins=bins, range=limits)
    top = max(1, int(counts.max()))
    width, height = _WIDTH - _LEFT - 8, _HEIGHT - _BOTTOM - _TOP
    step = width / bins
    bars = []
    for i, count in enumerate(counts):
        tall = height * int(count) / top
        bars.append(
            f'<rect x="{_LEFT + i * step + 0.5:.1f}" y="{_TOP + height - tall:.1f}" width="{step - 1:.1f}" '
            f'height="{tall:.1f}"><title>{edges[i]:.4g} to {edges[i + 1]:.4g}: {int(count)}</title></rect>'
        )
    lines = []
    if len(array):
        for name, value in (("mean", array.mean()), ("median", np.median(array))):
            x = _LEFT + width * (float(np.clip(value, low, high)) - low) / (high - low)
            lines.append(
                f'<line class="{name}" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + height}">'
                f"<title>{name} {value:.4g}</title></line>"
            )
    base = _TOP + height
    ticks = "".join(
        f'<text x="{_LEFT + width * share:.1f}" y="{base + 15}" text-anchor="{anchor}">{low + (high - low) * share:.4g}'
        "</text>"
        for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
    return (
        f'<svg class="histogram" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}">'
        f'<g class="bars">{"".join(bars)}</g><path class="axis" d="M{_LEFT} {base}H{_LEFT + width}"/>'
        f'{"".join(lines)}{ticks}<text x="{_LEFT - 5}" y="{_TOP + 8}" text-anchor="end">{top}</text>'
        f'<text x="{_LEFT - 5}" y="{base}" text-anchor="end">0</text></svg>'
    )


def case_overlay(image: np.ndarray, pred: np.ndarray, label: np.ndarray, side: int = 480) -> np.ndarray:
    """Draw both contours on an image that is made small enough for a page first.

    Args:
        image: ``(H, W, 3)`` as :func:`~condseg_monai.data.read_natural_image` gives it, in [0, 255].
        pred: ``(H, W)`` bool.
        label: ``(H, W)`` bool.
        side: longest side of the result, in pixels.

    Returns:
        ``(h, w, 3)``, ``uint8``.
    """
    picture = Image.fromarray(np.clip(image, 0, 255).round().astype(np.uint8))
    size = _size_within(picture.size, side)
    small = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
    masks = [np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)) for mask in (pred, label)]
    return draw_overlay(small, masks[0], masks[1], legend=False)


def uncertainty_map(values: np.ndarray, shape: tuple[int, int], side: int = 480) -> np.ndarray:
    """Colour the probability of the uncertainty region in the proportions of the image.

    Args:
        values: ``(h, w)`` in [0, 1], of the network's size.
        shape: (H, W) of the image.
        side: longest side of the result, in pixels.

    Returns:
        ``(h, w, 3)``, ``uint8``.
    """
    size = _size_within((shape[1], shape[0]), side)
    resized = Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return draw_heat_map(np.asarray(resized))


def jpeg_uri(picture: np.ndarray, quality: int = 85) -> str:
    """Return a picture, ``(H, W, 3)`` ``uint8``, as the address of an image element, without a file."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _size_within(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

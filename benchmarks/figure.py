"""Line charts side by side as a PNG, by Pillow alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from condseg_monai.utils.files import atomic_write

__all__ = ["draw_charts"]

_SCALE = 2
_SIZE, _LEFT, _RIGHT, _TOP, _BOTTOM = (360, 240), 52, 22, 30, 42
_LINE = (31, 119, 180)
_GRID = (225, 225, 225)


def draw_charts(path: str | Path, x_label: str, charts: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Draw a chart of one line each, both axes from zero.

    Args:
        path: the PNG to write.
        x_label: below each chart.
        charts: points ``(x, y)``, not negative, by the title of the chart; say the unit of y there.
    """
    image = Image.new("RGB", (_SIZE[0] * _SCALE * len(charts), _SIZE[1] * _SCALE), "white")
    for i, (title, points) in enumerate(charts.items()):
        image.paste(_chart(title, x_label, points), (i * _SIZE[0] * _SCALE, 0))
    with atomic_write(path) as temporary:
        image.quantize(32).save(temporary, format="PNG", optimize=True)


def _chart(title: str, x_label: str, points: Sequence[tuple[float, float]]) -> Image.Image:
    image = Image.new("RGB", (_SIZE[0] * _SCALE, _SIZE[1] * _SCALE), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=12 * _SCALE)
    x_ticks, y_ticks = _ticks(max(x for x, _ in points)), _ticks(max(y for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        width, height = _SIZE[0] - _LEFT - _RIGHT, _SIZE[1] - _TOP - _BOTTOM
        return (
            (_LEFT + width * x / x_ticks[-1]) * _SCALE,
            (_SIZE[1] - _BOTTOM - height * y / y_ticks[-1]) * _SCALE,
        )

    for y in y_ticks:
        left, right = place(0, y), place(x_ticks[-1], y)
        draw.line([left, right], fill=_GRID, width=_SCALE)
        draw.text((left[0] - 6 * _SCALE, left[1]), f"{y:g}", fill="black", font=font, anchor="rm")
    for x in x_ticks:
        draw.text((place(x, 0)[0], place(x, 0)[1] + 5 * _SCALE), f"{x:g}", fill="black", font=font, anchor="ma")
    places = [place(*point) for point in points]
    draw.line(places, fill=_LINE, width=2 * _SCALE)
    for x, y in places:
        draw.ellipse((x - 3 * _SCALE, y - 3 * _SCALE, x + 3 * _SCALE, y + 3 * _SCALE), fill=_LINE)
    draw.text((8 * _SCALE, 8 * _SCALE), title, fill="black", font=font)
    below = ((_LEFT + _SIZE[0] - _RIGHT) / 2 * _SCALE, (_SIZE[1] - 6) * _SCALE)
    draw.text(below, x_label, fill="black", font=font, anchor="ms")
    return image


def _ticks(largest: float) -> list[float]:
    """Round numbers from 0 to at least ``largest``, seven at most."""
    unit = 1.0
    while unit > largest / 10:
        unit /= 10
    steps = (unit * power * factor for power in (1, 10, 100, 1000, 10000, 100000) for factor in (1, 2, 5))
    step = next(step for step in steps if largest <= 6 * step)
    return [i * step for i in range(-int(-largest // step) + 1)]

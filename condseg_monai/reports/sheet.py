"""Contact sheet: pictures of many cases as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from condseg_monai.reports.drawing import resize_picture

__all__ = ["contact_sheet"]

_GREY = (80, 80, 80)
_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def contact_sheet(
    rows: Sequence[Sequence[ArrayLike]],
    titles: Sequence[str],
    row_titles: Sequence[str] | None = None,
    cell_size: int = 160,
    legend: Mapping[str, Sequence[int]] | None = None,
) -> Image.Image:
    """Arrange pictures as a table under column headings, with a legend below if there is one.

    Args:
        rows: one sequence of pictures a row, as many as ``titles``: ``(H, W)`` or ``(H, W, 3)``, booleans, 8-bit
            integers or floats in [0, 1], of any size.
        titles: heading of each column.
        row_titles: written above each row, such as file names; None for none.
        cell_size: side of the square each picture is fitted into, in pixels; proportions are kept.
        legend: colours by name, each (red, green, blue) from 0 to 255.
    """
    if not rows or not titles:
        raise ValueError("rows and titles must not be empty")
    for i, row in enumerate(rows):
        if len(row) != len(titles):
            raise ValueError(f"row {i} has {len(row)} pictures for {len(titles)} titles")
    if row_titles is not None and len(row_titles) != len(rows):
        raise ValueError(f"row_titles has {len(row_titles)} entries for {len(rows)} rows")
    size = max(11, cell_size // 11)
    font, gap = ImageFont.load_default(size), max(4, cell_size // 24)
    line = size + 2 * gap
    above = 0 if row_titles is None else line
    cells = [[resize_picture(picture, cell_size) for picture in row] for row in rows]
    heights = [max(cell.height for cell in row) for row in cells]
    width = len(titles) * (cell_size + gap) + gap
    height = line + sum(heights) + len(rows) * (above + gap)
    places = _legend_places(legend or {}, font, width, line)
    sheet = Image.new("RGB", (width, height + (places[-1][1] + line if places else 0)), (232, 232, 232))
    draw = ImageDraw.Draw(sheet)
    lefts = [gap + j * (cell_size + gap) for j in range(len(titles))]
    for left, title in zip(lefts, titles, strict=True):
        center = (left + cell_size // 2, line // 2)
        draw.text(center, _shortened(title, font, cell_size), fill="black", font=font, anchor="mm")
    top = line
    for i, row_cells in enumerate(cells):
        if row_titles is not None:
            text = _shortened(row_titles[i], font, width - 2 * gap)
            draw.text((gap, top + line // 2), text, fill=_GREY, font=font, anchor="lm")
        for left, cell in zip(lefts, row_cells, strict=True):
            sheet.paste(cell, (left + (cell_size - cell.width) // 2, top + above + (heights[i] - cell.height) // 2))
        top += above + heights[i] + gap
    for (name, (red, green, blue)), (left, below) in zip((legend or {}).items(), places, strict=True):
        middle = top + below + line // 2
        square = (left, middle - size // 2, left + size, middle + size // 2)
        draw.rectangle(square, fill=(red, green, blue), outline=_GREY)  # a pale one would not show on the sheet
        draw.text((left + size + gap, middle), name, fill="black", font=font, anchor="lm")
    return sheet


def _legend_places(names: Mapping[str, object], font: _Font, width: int, line: int) -> list[tuple[int, int]]:
    """Left and top of each entry, from left to right in as many lines as they need."""
    places: list[tuple[int, int]] = []
    left, top = line // 2, 0
    for name in names:
        needed = round(font.getlength(name)) + 2 * line
        if places and left + needed > width:
            left, top = line // 2, top + line
        places.append((left, top))
        left += needed
    return places


def _shortened(text: str, font: _Font, width: int) -> str:
    """The text, shortened in the middle until it fits."""
    shown, keep = text, len(text)
    while keep > 2 and font.getlength(shown) > width:
        keep -= 1
        shown = text[: keep - keep // 2] + "\u2026" + text[len(text) - keep // 2 :]
    return shown

"""Text tables: rows of cells as aligned columns."""

from __future__ import annotations

from collections.abc import Container, Sequence

__all__ = ["text_table"]


def text_table(rows: Sequence[Sequence[str]], left: Container[int] = (0,)) -> str:
    """Align the cells of a table, headings included, two spaces apart.

    Args:
        rows: of equal length.
        left: columns that are aligned to the left; the others are to the right.

    Returns:
        A line per row.

    Example:
        >>> print(text_table([("organ", "dice"), ("aorta", "0.9")]))
        organ  dice
        aorta   0.9
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)

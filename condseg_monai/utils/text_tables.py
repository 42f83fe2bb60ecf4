"""Text tables: rows of cells as aligned columns, Markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Sequence

__all__ = ["csv_table", "latex_table", "markdown_table", "text_table"]


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


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Format a table as Markdown.

    Args:
        rows: of equal length, the headings first.

    Returns:
        A line per row, and one below the headings.
    """
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body))


def latex_table(rows: Sequence[Sequence[str]]) -> str:
    """Format a table as LaTeX's ``tabular``, special characters escaped; see :func:`markdown_table`."""
    special = str.maketrans({character: f"\\{character}" for character in "_%&#$"})
    head, *body = (" & ".join(cell.translate(special) for cell in row) + r" \\" for row in rows)
    columns = "l" + "r" * (len(rows[0]) - 1)
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", head, r"\hline", *body, r"\end{tabular}"])


def csv_table(rows: Sequence[Sequence[str]]) -> str:
    """Format a table as CSV; see :func:`markdown_table`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().removesuffix("\n")

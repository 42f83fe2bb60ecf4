"""What the pages of this package are made of: one file each, which loads nothing."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

__all__ = ["html_interval", "html_number", "html_page", "html_section", "html_table", "html_text"]


def html_page(title: str, sections: Iterable[str]) -> str:
    """A whole page: heading, sections as :func:`html_section` makes them, and the style and script within."""
    assets = files("condseg_monai.reports")
    style, script = ((assets / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html_text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{html_text(title)}</h1>\n{''.join(sections)}</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def html_section(name: str, title: str, content: str) -> str:
    """A section with a heading; nothing if it has no content."""
    return f'<section id="{name}">\n<h2>{html_text(title)}</h2>\n{content}\n</section>\n' if content else ""


def html_table(heads: Iterable[str], rows: Iterable[str]) -> str:
    """A table that scrolls by itself where it is wider than the page."""
    head = "".join(f'<th scope="col">{html_text(text)}</th>' for text in heads)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def html_number(value: float | None) -> str:
    """A number to four digits behind the point, or a dash for none."""
    if value is None or math.isnan(value):
        return "&ndash;"
    if math.isinf(value):
        return "&infin;"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def html_interval(score: Mapping[str, Any]) -> str:
    """The ends of a score's interval."""
    interval = score.get("interval_95")
    return "&ndash;" if interval is None else f"{html_number(interval[0])} to {html_number(interval[1])}"


def html_text(value: object) -> str:
    """Text that cannot be taken for markup."""
    return html.escape(str(value), quote=True)

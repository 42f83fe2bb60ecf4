"""Looks of a terminal: bold headings, faint asides, errors red, warnings yellow; none elsewhere or with NO_COLOR."""

from __future__ import annotations

import os
import re
import sys

import click

__all__ = ["aside", "colored", "has_colors", "heading", "say"]

_COLORS = {"error": "red", "warning": "yellow"}
_LEVEL = re.compile(rf"^(?:{'|'.join(_COLORS)}):", flags=re.MULTILINE)


def heading(text: str) -> str:
    """A heading, for :func:`say`."""
    return click.style(text, bold=True)


def aside(text: str) -> str:
    """What is for a few readers alone, for :func:`say`."""
    return click.style(text, dim=True)


def colored(text: str) -> str:
    """Colour the level in front of lines, ``error:`` and ``warning:``."""
    return _LEVEL.sub(lambda found: click.style(found[0], fg=_COLORS[found[0][:-1]], bold=True), text)


def has_colors() -> bool:
    """Whether what is logged may have colours: the standard error is a terminal, and NO_COLOR is not set or empty."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def say(text: str, err: bool = False) -> None:
    """Print a text; its colours, and those of a level in front of its lines, are for a terminal.

    Args:
        text: the lines.
        err: whether they go to the standard error.
    """
    click.echo(colored(text), err=err, color=False if os.environ.get("NO_COLOR") else None)

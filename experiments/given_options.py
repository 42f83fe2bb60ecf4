"""Options of the bundle's configs on the command lines of the experiments and the demo."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from condseg_monai.utils.command_line import unknown_options
from condseg_monai.utils.options import OPTIONS, read_options


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Read ``--name value`` and ``--name=value``.

    Args:
        words: of the command line. The value of a config's option, or of one with ``stage1_`` before its name, is read
            as the config reads it: ``true`` is True. Any other is a Python literal (``None``, ``1e-3``) or text.

    Raises:
        ValueError: if a name has no value, or a value no name, or an option cannot have the value.
    """
    options: dict[str, Any] = {}
    rest = list(words)
    while rest:
        name, equals, text = rest.pop(0).partition("=")
        if not name.startswith("--"):
            raise ValueError(f"expected --name value, got {name!r}")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ValueError(f"{name} needs a value")
            text = rest.pop(0)
        try:
            options[name[2:]] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[name[2:]] = text
    return {name: _as_config(name, value) for name, value in options.items()}


def _as_config(name: str, value: Any) -> Any:
    option = name if name in OPTIONS else name.removeprefix("stage1_")
    return read_options(**{option: value})[option]


def check_options(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse options that no config has.

    Raises:
        ValueError: naming them, each with the option that it looks like, and all there are.
    """
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"{unknown_options(unknown, known)}; there are {', '.join(sorted(known))}")

"""Misspelt knobs: MONAI takes a name that no config has without a word, and trains with the default."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

__all__ = ["check_knobs", "no_such_knob"]

_ALIKE = 0.85
"""Of 1: from here on a name is taken for a knob that was meant; names of a user's own, less alike, pass."""


def check_knobs(parser: ConfigParser | None, bundle_root: str | PathLike[str]) -> None:
    """Refuse names at the top of a config that look like one of its knobs and that nothing reads.

    Names of another file of the bundle pass, so that one list of options does for training and inference, and names
    that look like no knob: programs that run bundles leave such behind, MONAI's federated client ``run_name``.

    Args:
        parser: of the config, :func:`~condseg_monai.current_parser`; None checks nothing.
        bundle_root: folder with ``configs/``; without files there nothing is checked.

    Raises:
        ValueError: naming them, each with the knob that it looks like.
    """
    files = sorted((Path(bundle_root) / "configs").glob("*.json"))
    if parser is None or not files:
        return
    known = {name for file in files for name in _names_of(file)}
    config = dict(parser.get())
    known |= {name for text in _strings(config) for name in re.findall(r"[@%](\w+)", text)}
    plain = {name for name, value in config.items() if not isinstance(value, (dict, list))}
    misspelt = [name for name in plain - known if _knob_like(name, plain & known, _ALIKE)]
    if misspelt:
        raise ValueError(
            f"{no_such_knob(sorted(misspelt), plain & known)}; docs/README.md of the bundle lists all knobs"
        )


def no_such_knob(unknown: Iterable[str], known: Collection[str]) -> str:
    """Say which names are no knobs, each with the knob that it looks like, if there is one.

    Args:
        unknown: names that are no knobs.
        known: names that are.
    """
    names = []
    for name in unknown:
        like = _knob_like(name, known)
        names.append(f"{name} (did you mean {like}?)" if like else name)
    return f"no such knob: {', '.join(names)}"


def _knob_like(name: str, known: Collection[str], alike: float = 0.7) -> str | None:
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=alike)), None)


def _names_of(file: Path) -> Iterable[str]:
    """The names at the top of a config; none of a file that is something else."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return ()
    return config if isinstance(config, dict) else ()


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value

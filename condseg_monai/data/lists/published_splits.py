"""Published split lists, shipped with the package, and the seeded order of our own splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.resources import files
from typing import NamedTuple

__all__ = ["PUBLISHED_LISTS", "published_list"]

_FOLDER = files("condseg_monai.data.lists").joinpath("splits")


class PublishedList(NamedTuple):
    """A file of ``condseg_monai/data/lists/splits``, its length, its hash, and repository and commit it comes from."""

    file: str
    cases: int
    sha256: str
    source: str


PUBLISHED_LISTS: dict[str, dict[str, PublishedList]] = {
    dataset: {split: PublishedList(**known) for split, known in splits.items()}
    for dataset, splits in json.loads(_FOLDER.joinpath("sources.json").read_text(encoding="utf-8")).items()
}
"""Dataset -> split -> list; both names as ``condseg prepare`` has them."""


def published_list(dataset: str, split: str) -> list[str]:
    """Read a published list: stems of the images in their order; a ValueError if there is none, or it was changed."""
    known = PUBLISHED_LISTS.get(dataset, {}).get(split)
    if known is None:
        raise ValueError(f"there is no published {split} list of {dataset!r}")
    text = _FOLDER.joinpath(known.file).read_text(encoding="utf-8")
    ids = text.splitlines()
    if list_sha256(ids) != known.sha256:
        raise ValueError(f"condseg_monai/data/lists/splits/{known.file} was changed: its hash is not {known.sha256}")
    return ids


def list_sha256(ids: Iterable[str]) -> str:
    """SHA-256 of a list as a file: a line each, LF line ends, in hexadecimal."""
    return hashlib.sha256("".join(f"{name}\n" for name in ids).encode()).hexdigest()


def seeded_order(names: Iterable[str], seed: int) -> list[str]:
    """Shuffle names as no version of any library changes it: by the SHA-256 of ``"{seed} {name}"``."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())

"""Prepared dataset: its splits, its record, and its folder, which appears complete and replaces nothing unasked."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from condseg_monai.data.lists.pairing import SPLITS
from condseg_monai.data.lists.published_splits import list_sha256, seeded_order
from condseg_monai.version import __version__

__all__: list[str] = []

RECORD = "dataset.json"  # says where everything in a prepared folder came from


class Split(NamedTuple):
    """One list: its names, whether it is ``"published"`` or ``"ours"``, and where it comes from."""

    names: list[str]
    origin: str
    source: str


def is_of_one_case(error: Exception) -> bool:
    """Whether an error is about one case and the others can still be looked at; a full disk is about all."""
    return getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT)


def move_out(splits: dict[str, Split], split: str, count: Any, seed: int) -> None:
    """Move training cases to a list of our own, drawn by name and seed, in place; a ValueError if it cannot be."""
    if "train" not in splits:
        raise ValueError(f"hold_out takes training cases, and there are none: leave out {split}={count}")
    train = splits["train"]
    free = [name for name in SPLITS if name not in splits]
    if split not in free:
        raise ValueError(f"hold_out can make {' or '.join(free) or 'no other list'} here, got {split!r}")
    if not isinstance(count, int) or not 0 < count < len(train.names):
        raise ValueError(f"hold_out must leave some of the {len(train.names)} training cases, got {split}={count}")
    drawn = set(seeded_order(train.names, seed)[:count])
    rule = f"{count} of the training cases, the first in the order of the SHA-256 of '{seed} NAME'"
    splits[split] = Split(sorted(drawn), "ours", rule)
    left = [name for name in train.names if name not in drawn]
    splits["train"] = Split(left, "ours", f"{train.source}; less those of {split}.txt")


def write_dataset(
    folder: Path,
    source: Path,
    splits: Mapping[str, Split],
    missing: Mapping[str, Sequence[str]],
    notes: Sequence[str],
    file_names: Mapping[str, str] | None = None,
    **facts: Any,
) -> dict[str, Any]:
    """Write the lists and ``dataset.json``, and return what it says, ``facts`` included."""
    for split, listed in splits.items():
        file = folder / (file_names or {}).get(split, f"{split}.txt")
        file.write_text("".join(f"{name}\n" for name in listed.names), encoding="utf-8", newline="\n")
    record = {
        **facts,
        "made_by": f"condseg_monai {__version__} prepare",
        "source": str(source.resolve()),
        "splits": {
            split: {
                "cases": len(listed.names),
                "origin": listed.origin,
                "source": listed.source,
                "sha256": list_sha256(listed.names),
                "missing": list(missing.get(split, [])),
            }
            for split, listed in splits.items()
        },
        "notes": list(notes),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def check_folders(source: Path, destination: Path, overwrite: bool) -> None:
    """Raise unless ``destination`` is outside ``source``, and new, empty or, to overwrite, made by ``prepare``."""
    real, target = source.resolve(), destination.resolve()
    if real == target or real in target.parents or target in real.parents:
        raise ValueError(f"{destination} and {source} must not be inside each other")
    if destination.exists() and not destination.is_dir():
        raise FileExistsError(f"{destination} is a file; give a folder")
    if _is_filled(destination):
        if not overwrite:
            raise FileExistsError(f"{destination} is not empty; give a new folder, or --overwrite to replace it")
        if not (destination / RECORD).is_file():
            raise FileExistsError(f"{destination} has no {RECORD}, so it was not made by prepare: remove it yourself")


def _is_filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


@contextmanager
def built_beside(destination: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of ``destination`` when the block ends, and goes if the block fails.

    Raises:
        FileExistsError: if ``destination`` was empty or not there, and another process has filled it since.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    replaces = _is_filled(destination)
    work = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}."))
    try:
        (work / "new").mkdir()
        yield work / "new"
        if not replaces and _is_filled(destination):
            raise FileExistsError(f"{destination} was filled by another process meanwhile, and stays as it is")
        if destination.exists():
            destination.rename(work / "old")
        try:
            (work / "new").rename(destination)
        except OSError:
            if (work / "old").exists():
                (work / "old").rename(destination)
            raise
    finally:
        if destination.exists() or not (work / "old").exists():
            shutil.rmtree(work, ignore_errors=True)

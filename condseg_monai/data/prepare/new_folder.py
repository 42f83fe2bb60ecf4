"""A data set that ``prepare`` makes: a new folder that appears when it is complete, and replaces nothing unasked."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["RECORD", "built_beside", "check_folders"]

RECORD = "dataset.json"
"""The file in a prepared folder that says where everything came from."""


def check_folders(source: Path, destination: Path, overwrite: bool) -> None:
    """Raise unless a data set can be made of one folder in another.

    Args:
        source: the folder to read.
        destination: the folder to make: new, empty, or, with ``overwrite``, one that an earlier ``prepare`` made.
        overwrite: whether such a one may be replaced.

    Raises:
        FileExistsError: if ``destination`` is a file, or has other content.
        ValueError: if one is inside the other.
    """
    real, target = source.resolve(), destination.resolve()
    if real == target or real in target.parents or target in real.parents:
        raise ValueError(f"{destination} and {source} must not be inside each other")
    if destination.exists() and not destination.is_dir():
        raise FileExistsError(f"{destination} is a file; give a folder")
    if destination.is_dir() and any(destination.iterdir()):
        if not overwrite:
            raise FileExistsError(f"{destination} is not empty; give a new folder, or --overwrite to replace it")
        if not (destination / RECORD).is_file():
            raise FileExistsError(f"{destination} has no {RECORD}, so it was not made by prepare: remove it yourself")


@contextmanager
def built_beside(destination: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of ``destination`` when the block ends, and goes if the block fails."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}."))
    try:
        (work / "new").mkdir()
        yield work / "new"
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

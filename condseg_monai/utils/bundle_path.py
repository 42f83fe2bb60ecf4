"""Where the MONAI bundle is: in an installed package, or in the repository beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["BUNDLE_FILES", "bundle_dir", "copy_bundle"]

BUNDLE_FILES = ("LICENSE", "configs/*", "docs/*", "models/README.md", "models/condseg_*")
"""What a bundle consists of: not the checkpoints and results that lie in the folder."""


def bundle_dir() -> Path:
    """Return the folder of the bundle, ``condseg_monai/bundle`` in an installed package.

    Raises:
        FileNotFoundError: if the package was copied without it.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "bundle", package.parent / "bundle"):
        if (folder / "configs").is_dir():
            return folder
    raise FileNotFoundError(f"no bundle in {package} nor beside it: reinstall condseg_monai")


def copy_bundle(source: Path, destination: Path) -> None:
    """Copy the files that a bundle consists of.

    Args:
        source: the bundle's folder.
        destination: a folder, made if it is missing.
    """
    for pattern in BUNDLE_FILES:
        for file in source.glob(pattern):
            target = destination / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)

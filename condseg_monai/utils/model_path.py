"""Which checkpoint a name means: a file, the folder of a run or a bundle, or a model that comes with the package."""

from __future__ import annotations

import os
from pathlib import Path

from condseg_monai.utils.bundle_path import bundle_dir

__all__ = ["find_checkpoint", "shipped_models"]

_NAME = "model.pt"


def shipped_models() -> dict[str, Path]:
    """The checkpoints that come with the package, by name."""
    return {file.stem: file for file in sorted((bundle_dir() / "models" / "shipped").glob("*.pt"))}


def find_checkpoint(model: str | os.PathLike[str]) -> Path:
    """Find the checkpoint that is meant.

    Args:
        model: a checkpoint; the folder of a run or a bundle, with ``models/model.pt`` or ``model.pt``; or the name of a
            shipped model, if there is no such file.

    Raises:
        FileNotFoundError: naming what was looked for.
    """
    path = Path(model)
    if path.is_dir():
        for file in (path / "models" / _NAME, path / _NAME):
            if file.is_file():
                return file
        raise FileNotFoundError(f"{path} has neither models/{_NAME} nor {_NAME}: name a checkpoint, or train one")
    if path.is_file():
        return path
    shipped = shipped_models()
    if str(model) in shipped:
        return shipped[str(model)]
    names = f", or one of the shipped models {', '.join(shipped)}" if shipped else ""
    raise FileNotFoundError(f"{path} does not exist: name a checkpoint, the folder of a run or of a bundle{names}")

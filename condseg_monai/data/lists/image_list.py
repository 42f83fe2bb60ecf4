"""List of the images to segment: a folder, a list or one file."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from condseg_monai.data.images.image_reader import IMAGE_EXTENSIONS
from condseg_monai.data.lists import pairing
from condseg_monai.data.lists.pairing import Case, DatasetError

__all__ = ["list_images"]


def list_images(source: str | PathLike[str]) -> list[Case]:
    """List images without their masks, ``{"image": path}`` each, in the order of the folder or list, none twice.

    Args:
        source: one of three things:
            - a folder: its images and those of its sub-folders, or of its ``images/`` alone if it holds none itself.
                If there are sub-folders, each has a ``name``, its path in the folder without extension;
            - a ``.txt`` list: a path a line, relative to the folder of the list, or a file name or stem in ``images/``
                beside it; a file that is not there is listed all the same. Images of several folders have a ``name``,
                their path without extension in the folder that all of them share;
            - one image.

    Raises:
        DatasetError: if ``source`` is none of these, or there is no image in it.
    """
    path = Path(source)
    if path.is_dir():
        folder = _folder_of_images(path)
        found = pairing.list_image_files(folder, nested=True)
        if any(file.parent != folder for file in found):
            return [_in_folder(file, folder) for file in found]
    elif path.is_file() and path.suffix.lower() == ".txt":
        index = pairing.index_by_stem(path.parent / "images") if (path.parent / "images").is_dir() else {}
        listed = [_find(line, path.parent, index) for line in pairing.read_list(path)]
        found = list({file.absolute(): file for file in listed}.values())
        folders = {file.parent.absolute() for file in found if file.is_file()}
        if len(folders) > 1:
            shared = Path(os.path.commonpath(folders))
            return [_in_folder(file, shared) if file.is_file() else {"image": str(file)} for file in found]
    elif path.is_file() and path.suffix.lower() in IMAGE_EXTENSIONS:
        found = [path]
    else:
        raise DatasetError(f"{path} is not a folder, a .txt list or an image ({', '.join(IMAGE_EXTENSIONS)})")
    if not found:
        raise DatasetError(f"{path} has no image ({', '.join(IMAGE_EXTENSIONS)})")
    return [{"image": name} for name in dict.fromkeys(map(str, found))]


def list_other_files(source: str | PathLike[str]) -> list[Path]:
    """Files in a folder and its sub-folders that :func:`list_images` leaves out, but hidden ones; of other
    sources none."""
    path = Path(source)
    others = pairing.list_other_files(_folder_of_images(path), nested=True) if path.is_dir() else []
    return [other for other in others if other.is_file() or pairing.is_dangling(other)]


def _folder_of_images(folder: Path) -> Path:
    inner = folder / "images"
    return inner if inner.is_dir() and not pairing.list_image_files(folder) else folder


def _in_folder(file: Path, folder: Path) -> Case:
    """Case of a file in a folder or below it, whose name is its path there without extension."""
    return {"image": str(file), "name": Path(os.path.relpath(file, folder)).with_suffix("").as_posix()}


def _find(line: str, folder: Path, index: pairing.Index) -> Path:
    path = folder / line
    named = index.get(pairing.stem_of_line(line, index), [])
    return named[0] if len(named) == 1 and not path.is_file() else path

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
            - a folder: its images by name, or those of its ``images/`` if it holds none itself, or those of its
                sub-folders, which then have a ``name``, their path in the folder without extension;
            - a ``.txt`` list: a path a line, relative to the folder of the list, or a file name or stem in ``images/``
                beside it; a file that is not there is listed all the same;
            - one image.

    Raises:
        DatasetError: if ``source`` is none of these, or there is no image in it.
    """
    path = Path(source)
    if path.is_dir():
        folder = _folder_of_images(path)
        found = pairing.list_image_files(folder)
        if nested := [] if found else _in_sub_folders(folder):
            names = [str(file.relative_to(folder).with_suffix("").as_posix()) for file in nested]
            return [{"image": str(file), "name": name} for file, name in zip(nested, names, strict=True)]
    elif path.is_file() and path.suffix.lower() == ".txt":
        index = pairing.index_by_stem(path.parent / "images") if (path.parent / "images").is_dir() else {}
        found = [_find(line, path.parent, index) for line in pairing.read_list(path)]
    elif path.is_file() and path.suffix.lower() in IMAGE_EXTENSIONS:
        found = [path]
    else:
        raise DatasetError(f"{path} is not a folder, a .txt list or an image ({', '.join(IMAGE_EXTENSIONS)})")
    if not found:
        raise DatasetError(f"{path} has no image ({', '.join(IMAGE_EXTENSIONS)})")
    return [{"image": name} for name in dict.fromkeys(map(str, found))]


def list_other_files(source: str | PathLike[str]) -> list[Path]:
    """Files of a folder that :func:`list_images` leaves out, hidden ones aside; none for another source."""
    path = Path(source)
    others = pairing.list_other_files(_folder_of_images(path)) if path.is_dir() else []
    return [other for other in others if other.is_file() or pairing.is_dangling(other)]


def _folder_of_images(folder: Path) -> Path:
    inner = folder / "images"
    return inner if inner.is_dir() and not pairing.list_image_files(folder) else folder


def _in_sub_folders(folder: Path) -> list[Path]:
    """Images below a folder; folders that are links are followed, each once, and hidden ones left out."""
    found, seen = [], set()
    for root, folders, _ in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (place := Path(root).resolve()) in seen:
            folders.clear()
            continue
        seen.add(place)
        found += pairing.list_image_files(Path(root))
    return found


def _find(line: str, folder: Path, index: pairing.Index) -> Path:
    path = folder / line
    named = index.get(pairing.stem_of_line(line, index), [])
    return named[0] if len(named) == 1 and not path.is_file() else path

"""The images somebody wants segmented: a folder, a list or one file."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from condseg_monai.data.images.image_reader import IMAGE_EXTENSIONS
from condseg_monai.data.lists.pairing import (
    Case,
    DatasetError,
    index_by_stem,
    list_image_files,
    read_list,
    stem_of_line,
)

__all__ = ["list_images", "list_other_files"]


def list_images(source: str | PathLike[str]) -> list[Case]:
    """List images without their masks.

    Args:
        source: one of three things:

            - a folder: its images by name, or those of its ``images/`` if it holds none itself;
            - a ``.txt`` list: a path a line, relative to the folder of the list, or a file name or stem in ``images/``
              beside it, as in ``test.txt`` of a data set; a file that is not there is listed all the same;
            - one image.

    Returns:
        One ``{"image": path}`` each, in the order of the folder or list, none twice.

    Raises:
        DatasetError: if ``source`` is none of these, or there is no image in it.
    """
    path = Path(source)
    if path.is_dir():
        found = list_image_files(_folder_of_images(path))
    elif path.is_file() and path.suffix.lower() == ".txt":
        index = index_by_stem(path.parent / "images") if (path.parent / "images").is_dir() else {}
        found = [_find(line, path.parent, index) for line in read_list(path)]
    elif path.is_file() and path.suffix.lower() in IMAGE_EXTENSIONS:
        found = [path]
    else:
        raise DatasetError(f"{path} is not a folder, a .txt list or an image ({', '.join(IMAGE_EXTENSIONS)})")
    if not found:
        raise DatasetError(f"{path} has no image ({', '.join(IMAGE_EXTENSIONS)})")
    return [{"image": name} for name in dict.fromkeys(map(str, found))]


def list_other_files(source: str | PathLike[str]) -> list[Path]:
    """Files that :func:`list_images` passes over in a folder for want of an image's extension, hidden ones aside.

    Args:
        source: as for :func:`list_images`; a list and an image pass over nothing.

    Returns:
        Their paths by name.
    """
    path = Path(source)
    if not path.is_dir():
        return []
    folder = _folder_of_images(path)
    images = set(list_image_files(folder))
    return sorted(
        file for file in folder.iterdir() if file.is_file() and file not in images and not file.name.startswith(".")
    )


def _folder_of_images(folder: Path) -> Path:
    inner = folder / "images"
    return inner if inner.is_dir() and not list_image_files(folder) else folder


def _find(line: str, folder: Path, index: dict[str, list[Path]]) -> Path:
    """The file of one line: the path it says, or the only one of that stem in ``images/``."""
    path = folder / line
    named = index.get(stem_of_line(line, index), [])
    return named[0] if len(named) == 1 and not path.is_file() else path

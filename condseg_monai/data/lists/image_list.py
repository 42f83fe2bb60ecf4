"""List of the images to segment: a folder, a list or one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from condseg_monai.data.dicom_files import is_dicom, is_named_as_dicom
from condseg_monai.data.images.dicom_picture import frame_of, frames_of
from condseg_monai.data.images.image_reader import IMAGE_EXTENSIONS
from condseg_monai.data.lists import pairing
from condseg_monai.data.lists.pairing import Case, DatasetError, Finding

__all__ = ["dicom_frames", "list_images"]

_KINDS = f"{', '.join(IMAGE_EXTENSIONS)}, DICOM"


def list_images(source: str | PathLike[str]) -> list[Case]:
    """List images without their masks, ``{"image": path}`` each, in the order of the folder or list, none twice.

    Images are files with an extension of ``IMAGE_EXTENSIONS``, and DICOM files, by name or content; what of those are
    pictures, and how many, :func:`dicom_frames` finds out.

    Args:
        source: one of three things:
            - a folder: its images and those of its sub-folders, or of its ``images/`` alone if it holds none itself.
                If there are sub-folders, each has a ``name``, its path in the folder without extension;
            - a ``.txt`` list: a path a line, relative to the folder of the list, or a file name or stem in ``images/``
                beside it, or a frame of a DICOM file, ``clip.dcm#12``; a file that is not there is listed all the same.
                Images of several folders have a ``name``, their path without extension in the folder that all of them
                share;
            - one image, or frame of a DICOM file.

    Raises:
        DatasetError: if ``source`` is none of these, or there is no image in it.
    """
    path = Path(source)
    if path.is_dir():
        folder = _folder_of_images(path)
        found = sorted([*pairing.list_image_files(folder, nested=True), *_dicom_files(folder, nested=True)])
        if any(file.parent != folder for file in found):
            return [_in_folder(file, folder) for file in found]
    elif path.is_file() and path.suffix.lower() == ".txt":
        index = pairing.index_by_stem(path.parent / "images") if (path.parent / "images").is_dir() else {}
        listed = [_find(line, path.parent, index) for line in pairing.read_list(path)]
        found = list({file.absolute(): file for file in listed}.values())
        folders = {file.parent.absolute() for file in found if _is_file(file)}
        if len(folders) > 1:
            shared = Path(os.path.commonpath(folders))
            return [_in_folder(file, shared) if _is_file(file) else {"image": str(file)} for file in found]
    elif _is_file(path) and (path.suffix.lower() in IMAGE_EXTENSIONS or is_dicom_picture(str(path))):
        found = [path]
    else:
        raise DatasetError(f"{path} is not a folder, a .txt list or an image ({_KINDS})")
    if not found:
        raise DatasetError(f"{path} has no image ({_KINDS})")
    return [{"image": name} for name in dict.fromkeys(map(str, found))]


def list_other_files(source: str | PathLike[str]) -> list[Path]:
    """Files in a folder and its sub-folders that :func:`list_images` leaves out, but hidden ones; of other
    sources none."""
    path = Path(source)
    others = pairing.list_other_files(_folder_of_images(path), nested=True) if path.is_dir() else []
    others = [other for other in others if other.is_file() or pairing.is_dangling(other)]
    return [other for other in others if not _looks_like_dicom(other)]


def dicom_frames(cases: Sequence[Case]) -> tuple[list[Case], list[Finding], list[str]]:
    """Put in place of each DICOM file its frames, in their order, ``clip.dcm#1`` with the name ``clip_01`` and so on.

    Returns:
        the cases; what is wrong with files that cannot be read or are no pictures, such as a slice of CT; and the files
        without pixels, such as reports.
    """
    found: list[Case] = []
    wrong, others = [], []
    for case in cases:
        image = case["image"]
        if not is_dicom_picture(image):
            found.append(case)
            continue
        try:
            frames = frames_of(image)
        except ImportError:
            raise
        except Exception as error:  # pydicom lets many kinds of exception out of a damaged file
            text = str(error) if isinstance(error, ValueError) else f"{image} cannot be read: {error!r}"
            wrong.append(Finding("unreadable", text, (image,)))
            continue
        others += [] if frames else [image]
        place = Path(case.get("name", "")).parent
        found += [{"image": frame, "name": (place / name).as_posix()} for frame, name in frames]
    return list({case["image"]: case for case in found}.values()), wrong, others


def is_dicom_picture(image: str) -> bool:
    """Whether a listed image, which need not be there, is a DICOM file or a frame of one."""
    return Path(image).suffix.lower() not in IMAGE_EXTENSIONS and _looks_like_dicom(frame_of(image)[0])


def _folder_of_images(folder: Path) -> Path:
    inner = folder / "images"
    return inner if inner.is_dir() and not pairing.list_image_files(folder) and not _dicom_files(folder) else folder


def _dicom_files(folder: Path, nested: bool = False) -> list[Path]:
    return [path for path in pairing.list_other_files(folder, nested) if _looks_like_dicom(path)]


def _looks_like_dicom(path: Path) -> bool:
    return (is_named_as_dicom(path) and (path.is_file() or pairing.is_dangling(path))) or is_dicom(path)


def _is_file(image: Path) -> bool:
    return frame_of(image)[0].is_file()


def _in_folder(file: Path, folder: Path) -> Case:
    """Case of a file in a folder or below it, whose name is its path there without extension."""
    return {"image": str(file), "name": Path(os.path.relpath(file, folder)).with_suffix("").as_posix()}


def _find(line: str, folder: Path, index: pairing.Index) -> Path:
    path = folder / line
    named = index.get(pairing.stem_of_line(line, index), [])
    return named[0] if len(named) == 1 and not _is_file(path) else path

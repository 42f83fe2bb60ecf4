"""List of the volumes to segment: a file, a folder, a list or a DICOM series."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from condseg_monai.data.ct.dicom_series import list_dicom_files, read_dicom_series
from condseg_monai.data.ct.h5_volume import H5_EXTENSION, h5_stem, read_h5_volume
from condseg_monai.data.ct.nifti import NIFTI_EXTENSIONS, nifti_stem, read_nifti
from condseg_monai.data.ct.volume import Volume
from condseg_monai.data.ct.volume_names import is_label_name
from condseg_monai.data.dicom_files import is_named_as_dicom
from condseg_monai.data.lists.pairing import DatasetError, is_dangling, read_list, some

__all__ = ["list_volumes", "read_volume"]

_LOG = logging.getLogger(__name__)
VOLUME_EXTENSIONS = (*NIFTI_EXTENSIONS, H5_EXTENSION)


def list_volumes(
    source: str | os.PathLike[str], output_dir: str | os.PathLike[str] | None = None
) -> list[tuple[str, Path]]:
    """List volumes by name: name and path of each file or folder of a series, none twice.

    ``source`` is a NIfTI file or one of TransUNet's volumes, ``.npy.h5``; a DICOM series; a folder with such files and
    series in it, however deep; or a ``.txt`` list of them, relative to its folder. What lies in a folder is named by
    its path below it, a file without its extension, ``_`` between the parts.

    Left out of a folder are labels, by :func:`~condseg_monai.data.ct.volume_names.is_label_name` of their path, and
    files of other kinds, which the log says; what is hidden; and ``output_dir``, if it is in there. A folder of files
    that are named as DICOM is a series, also where none of them can be read.

    Raises:
        DatasetError: if ``source`` is none of these, or there is no volume in it.
    """
    path = Path(source)
    if path.is_dir():
        output = None if output_dir is None else Path(output_dir).resolve()
        inside = output is not None and output.is_relative_to(path.resolve())
        found = _in_folder(path, output if inside else None)
    elif path.is_file() and path.suffix.lower() == ".txt":
        lines = [path.parent / line for line in read_list(path)]
        found = [(volume_stem(line) or line.name, line) for line in lines]
    elif path.is_file() and (stem := volume_stem(path)) is not None:
        found = [(stem, path)]
    elif path.is_file():
        raise DatasetError(
            f"{path} is not a volume ({', '.join(VOLUME_EXTENSIONS)}); for DICOM give the folder of the series"
        )
    else:
        raise DatasetError(f"{path} does not exist; give a file, a folder, a .txt list or a DICOM series")
    if not found:
        raise DatasetError(
            f"{path} has no volume: no {' or '.join(VOLUME_EXTENSIONS)} in it that is not named as a label, and no "
            "DICOM file"
        )
    return list(dict.fromkeys(found))


def folders_below(root: Path) -> Iterator[Path]:
    """A folder and those in it, however deep; links are followed, hidden folders left out, none given twice."""
    seen = set()
    for name, below, _ in os.walk(root, followlinks=True):
        folder = Path(name)
        if folder.resolve() in seen:
            below.clear()
            continue
        seen.add(folder.resolve())
        below[:] = sorted(other for other in below if not other.startswith("."))
        yield folder


def files_below(root: Path) -> list[Path]:
    """Files in a folder and below, and links to none, sorted; what is hidden is left out."""
    return sorted(
        path
        for folder in folders_below(root)
        for path in folder.iterdir()
        if not path.name.startswith(".") and (path.is_file() or is_dangling(path))
    )


def volume_stem(path: str | os.PathLike[str]) -> str | None:
    """The name of a volume's file without its extension; None if it is none by its name."""
    return nifti_stem(path) or h5_stem(path)


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """Read a volume by :func:`read_nifti`, :func:`read_h5_volume` or, of a folder, :func:`read_dicom_series`."""
    if Path(path).is_dir():
        return read_dicom_series(path)
    return read_nifti(path) if h5_stem(path) is None else read_h5_volume(path)


def _in_folder(folder: Path, output_dir: Path | None) -> list[tuple[str, Path]]:
    files, series, labels, others = [], [], [], []
    for parent in folders_below(folder):
        if output_dir is not None and parent != folder and parent.resolve().is_relative_to(output_dir):
            continue
        place = parent.relative_to(folder)
        found = [path for path in sorted(parent.iterdir()) if path.is_file() or is_dangling(path)]
        found = [path for path in found if not path.name.startswith(".")]
        for path in found:
            stem = volume_stem(path)
            if stem is not None and is_label_name((place / stem).as_posix()):
                labels.append(path)
            elif stem is not None:
                files.append(("_".join((*place.parts, stem)), path))
        if any(map(is_named_as_dicom, found)) or list_dicom_files(parent):
            series.append(("_".join(place.parts) or folder.resolve().name, parent))  # reading it names other files
        else:
            others += [path for path in found if volume_stem(path) is None]
    if labels:
        _LOG.warning(f"{len(labels)} file(s) of {folder} left out, which are named as labels: {some(labels)}")
    if others:
        _LOG.warning(f"{len(others)} file(s) of {folder} left out, which are no volumes by name: {some(others)}")
    return files + series

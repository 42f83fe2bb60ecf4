"""List of the volumes to segment: a file, a folder, a list or a DICOM series."""

from __future__ import annotations

import os
from pathlib import Path

from condseg_monai.data.ct.dicom_series import list_dicom_files, read_dicom_series
from condseg_monai.data.ct.h5_volume import H5_EXTENSION, h5_stem, read_h5_volume
from condseg_monai.data.ct.nifti import NIFTI_EXTENSIONS, nifti_stem, read_nifti
from condseg_monai.data.ct.volume import Volume
from condseg_monai.data.lists.pairing import DatasetError, read_list

__all__ = ["list_volumes", "read_volume"]

VOLUME_EXTENSIONS = (*NIFTI_EXTENSIONS, H5_EXTENSION)


def list_volumes(source: str | os.PathLike[str]) -> list[tuple[str, Path]]:
    """List volumes by name: name and path of each file or folder of a series, none twice.

    ``source`` is a NIfTI file or one of TransUNet's volumes, ``.npy.h5``; a folder of such files, or of folders with a
    DICOM series each, however deep, or both; a DICOM series; or a ``.txt`` list of them, relative to its folder. Files
    are named by their stem, series by the path of their folder.

    Raises:
        DatasetError: if ``source`` is none of these, or there is no volume in it.
    """
    path = Path(source)
    if path.is_dir():
        found = _in_folder(path)
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
        raise DatasetError(f"{path} has no volume: no {' or '.join(VOLUME_EXTENSIONS)} in it, and no DICOM file")
    return list(dict.fromkeys(found))


def volume_stem(path: str | os.PathLike[str]) -> str | None:
    """The name of a volume's file without its extension; None if it is none by its name."""
    return nifti_stem(path) or h5_stem(path)


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """Read a volume by :func:`read_nifti`, :func:`read_h5_volume` or, of a folder, :func:`read_dicom_series`."""
    if Path(path).is_dir():
        return read_dicom_series(path)
    return read_nifti(path) if h5_stem(path) is None else read_h5_volume(path)


def _in_folder(folder: Path) -> list[tuple[str, Path]]:
    files = [
        (stem, path)
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".") and (stem := volume_stem(path)) is not None
    ]
    series = []
    for parent in [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]:
        if list_dicom_files(parent):
            name = "_".join(parent.relative_to(folder).parts) or folder.resolve().name
            series.append((name, parent))
    return files + series

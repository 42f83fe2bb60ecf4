"""Uploaded files as inputs of a Segmenter: recognised by content, never named as their sender says, not kept."""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from condseg_monai.data.ct.volume import check_unpacked

__all__ = ["MAX_FILES", "Upload", "opened", "without_folder"]

MAX_FILES = 10_000
"""Files of one upload, or in its zip; more are refused."""

Upload = tuple[str, BinaryIO]
"""The name that the sender gave, and the content, which can be read from its start again."""

_PREFIX = "condseg_serve_"
_MAX_READ = 1 << 24  # bytes of a zip at a time: its list of members is read at once, and may be all there is
_GZIP, _ZIP, _NIFTI = b"\x1f\x8b", b"PK", ((344, b"n+1\0"), (4, b"n+2\0"))


@contextmanager
def opened(files: Sequence[Upload], kind: str) -> Iterator[bytes | Path]:
    """Yield what a :class:`~condseg_monai.Segmenter` takes: the bytes of an image, or the path of a volume.

    Args:
        files: of an ``"image"`` model one file; of a ``"ct"`` model a NIfTI file, a zip of one or of a DICOM series, or
            the slices of a series.
        kind: of the model.

    Raises:
        ValueError: if there are too few or too many files, or a zip is damaged, has paths that lead out of it or more
            than :data:`MAX_FILES` files, or unpacks to more than a volume may have.
    """
    if not files:
        raise ValueError(
            "the request has no file: send multipart/form-data with a part called file that has a filename"
        )
    if kind == "image":
        if len(files) > 1:
            raise ValueError(f"the model segments one image at a time, got {len(files)} files")
        yield _content(files[0])
        return
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        yield _write_volume(files, Path(folder))


def without_folder(text: str) -> str:
    """Leave out of a message where uploads lay while they were read."""
    return re.sub(rf"{re.escape(tempfile.gettempdir())}/{_PREFIX}\w+/", "", text)


def _content(upload: Upload) -> bytes:
    upload[1].seek(0)
    return upload[1].read()


def _write_volume(files: Sequence[Upload], folder: Path) -> Path:
    name, file = files[0]
    file.seek(0)
    start = file.read(512)
    if len(files) == 1 and start.startswith(_ZIP):
        _unpack(name, file, folder / "series")
        return folder / "series"
    if len(files) == 1 and (start.startswith(_GZIP) or any(start[at:].startswith(magic) for at, magic in _NIFTI)):
        path = folder / ("scan.nii.gz" if start.startswith(_GZIP) else "scan.nii")
        _copy(files[0], path)
        return path
    series = folder / "series"
    series.mkdir()
    for i, upload in enumerate(files):
        plain = re.sub(r"[^\w.-]", "_", PurePosixPath(upload[0].replace("\\", "/")).name)[-100:]
        if not plain.startswith(".") and plain.upper() != "DICOMDIR":  # which are no slices, and tell by their names
            _copy(upload, series / f"{i:05d}_{plain}")
    return series


def _copy(upload: Upload, path: Path) -> None:
    upload[1].seek(0)
    with path.open("wb") as target:
        shutil.copyfileobj(upload[1], target)


def _unpack(name: str, file: BinaryIO, folder: Path) -> None:
    try:
        with zipfile.ZipFile(cast("BinaryIO", _BoundedReads(file))) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_members(members, name)
            for member in members:
                archive.extract(member, folder)
    except Exception as error:  # zlib's, an encrypted one's RuntimeError, names that no file can have, and others
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise ValueError(f"{name} cannot be unpacked: {error}") from error


def _check_members(members: Sequence[zipfile.ZipInfo], name: str) -> None:
    if not 0 < len(members) <= MAX_FILES:
        raise ValueError(f"it has {len(members)} files; give 1 to {MAX_FILES}")
    check_unpacked(Path(PurePosixPath(name).name), sum(member.file_size for member in members))
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
            raise ValueError(f"its file {member.filename!r} leads out of it")
        # others, LZMA for one, reserve as much memory as their header says
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"its file {member.filename!r} is neither stored nor deflated")


class _BoundedReads:
    """A file of which a zip reads its members, but no list of millions of them.

    Args:
        file: the zip.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > _MAX_READ:
            raise ValueError(f"its list of files has {size} bytes, more than the limit of {_MAX_READ}")
        return self._file.read(size)

    def seekable(self) -> bool:
        return True  # Python 3.10's spooled files are, but have no such method

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

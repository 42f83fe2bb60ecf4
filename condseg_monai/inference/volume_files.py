"""Write label and score volumes as NIfTI without a copy of the whole."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from nibabel.affines import voxel_sizes

from condseg_monai.data.ct.nifti import qform_of
from condseg_monai.data.ct.volume import Volume, axial_slices, volume_of_slices
from condseg_monai.inference.volume_inferer import SliceSink
from condseg_monai.utils.files import atomic_write, unfinished_prefix

__all__ = ["score_volume_writer", "write_label_volume"]

# Scores are saved as 16-bit integers with a scale factor that every NIfTI reader applies.
_SCORE_STEPS = 65535
_SCORE_TYPE = np.dtype("<u2")
_CHUNK_VALUES = 1 << 23


def write_label_volume(path: str | os.PathLike[str], labels: np.ndarray, volume: Volume) -> None:
    """Write ``uint8`` labels as ``.nii`` or ``.nii.gz`` with the geometry of the volume they are of."""
    if labels.dtype != np.uint8 or labels.shape != volume.array.shape:
        raise ValueError(f"labels must be uint8 {volume.array.shape}, got {labels.dtype} {labels.shape}")
    suffix = Path(path).suffix.lower()
    with atomic_write(path) as temporary, temporary.open("wb") as file, _stream(file, suffix) as stream:
        _header(volume, volume.file_shape, np.uint8).write_to(stream)
        for k in range(labels.shape[2]):
            stream.write(labels[:, :, k].tobytes(order="F"))


@contextmanager
def score_volume_writer(path: str | os.PathLike[str], volume: Volume) -> Iterator[SliceSink]:
    """Write scores slice by slice to ``.nii`` or ``.nii.gz``; the file appears when the block ends well.

    Yields:
        A function of the index of an axial slice and its scores in [0, 1], rounded to 1/65535: ``(H, W)``, or ``(H, W,
            C)`` for a file with C as its fourth axis. Slices that are never given are 0.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    depth, height, width = axial_slices(volume.array, volume.affine).shape
    channels: tuple[int, ...] = ()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=unfinished_prefix(target)) as folder:
        raw = Path(folder) / "scores"
        with raw.open("wb") as file:

            def write(index: int, scores: np.ndarray) -> None:
                nonlocal channels
                channels = scores.shape[2:]
                stored = (np.clip(scores, 0, 1) * _SCORE_STEPS).round().astype(_SCORE_TYPE)
                for channel, plane in enumerate(stored.reshape(height, width, -1).transpose(2, 0, 1)):
                    file.seek(_SCORE_TYPE.itemsize * (channel * depth + index) * height * width)
                    file.write(plane.tobytes())

            yield write
            stack = (channels or (1,))[0], depth, height, width
            file.truncate(_SCORE_TYPE.itemsize * int(np.prod(stack)))
        with atomic_write(target) as temporary, temporary.open("wb") as file, _stream(file, target.suffix) as stream:
            _header(volume, (*volume.array.shape, *channels), _SCORE_TYPE, 1 / _SCORE_STEPS).write_to(stream)
            for channel in range(stack[0]):
                _copy_in_file_order(raw, stream, channel, stack, volume)


def _copy_in_file_order(raw: Path, stream: BinaryIO, channel: int, stack: tuple[int, ...], volume: Volume) -> None:
    """Append one channel of a stack of slices to a NIfTI file, some megabytes at a time."""
    step = max(1, _CHUNK_VALUES // int(np.prod(volume.array.shape[:2])))
    for k in range(0, volume.array.shape[2], step):
        # Mapped anew each time: pages of a file that stays mapped count as memory of this process.
        mapped = np.memmap(raw, dtype=_SCORE_TYPE, mode="r", shape=stack)
        part = volume_of_slices(mapped[channel], volume.affine)[:, :, k : k + step]
        stream.write(part.tobytes(order="F"))
        del part, mapped


def _stream(file: BinaryIO, suffix: str) -> Any:
    if suffix != ".gz":
        return nullcontext(file)
    # No name and no time inside: the same labels are the same bytes.
    return gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0)


def _header(volume: Volume, shape: tuple[int, ...], dtype: Any, slope: float = 1.0) -> Any:
    if volume.header is None:
        header = nibabel.Nifti1Header(endianness="<")
        header.set_xyzt_units("mm")
    else:
        header = volume.header.as_byteswapped("<")
        header.extensions.clear()
        header["cal_min"] = header["cal_max"] = 0
        header["vox_offset"] = 0
        header.set_intent("none")
    header["descrip"] = b"condseg_monai"
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_slope_inter(slope, 0)
    if volume.header is None:
        header.set_sform(volume.affine, code="scanner")
        header.set_qform(volume.affine, code="scanner")
    if header["sform_code"] > 0:
        sform = header.get_sform()
        sizes = voxel_sizes(sform)
        if not np.allclose(header["pixdim"][1:4], sizes, rtol=1e-3, atol=0):
            header["pixdim"][1:4] = sizes  # ITK takes the spacing from here, and would misplace labels
        qform = qform_of(header)
        if qform is None or not np.allclose(qform, sform, atol=1e-3):
            header["qform_code"] = 0  # it has no shear, as of a tilted gantry, or lies elsewhere: ITK would go by it
    return header

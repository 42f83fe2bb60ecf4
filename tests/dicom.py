"""DICOM pictures of one or many frames, written by pydicom in every kind of pixel that the tests read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ENDOSCOPY, VIDEO_ENDOSCOPY = "1.2.840.10008.5.1.4.1.1.77.1.1", "1.2.840.10008.5.1.4.1.1.77.1.1.1"
SECONDARY, TRUE_COLOUR = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.4"


def dicom_picture(pixels: np.ndarray, sop_class: str = ENDOSCOPY, **tags: Any) -> Any:
    """A data set of ``(H, W)``, ``(H, W, 3)`` or ``(N, H, W, 3)`` stored values; ``tags`` override any."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    frames = pixels if pixels.ndim == 4 else pixels[None]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality, dataset.PatientName, dataset.PatientID, dataset.StudyDate = "ES", "Phantom", "1", "20200101"
    dataset.Rows, dataset.Columns = frames.shape[1:3]
    dataset.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    dataset.PhotometricInterpretation = "RGB" if frames.ndim == 4 else "MONOCHROME2"
    if frames.ndim == 4:
        dataset.PlanarConfiguration = 0
    bits = 8 * frames.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits, bits - 1, 0
    if pixels.ndim == 4:
        dataset.NumberOfFrames = len(frames)
    content = frames.tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def save(dataset: Any, path: Path) -> Path:
    """Write a data set, and its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_picture(path: Path, pixels: np.ndarray, sop_class: str = ENDOSCOPY, **tags: Any) -> Path:
    """Write a picture by :func:`dicom_picture`."""
    return save(dicom_picture(pixels, sop_class, **tags), path)


def as_jpeg(dataset: Any, frames: np.ndarray) -> Any:
    """The data set with its frames ``(N, H, W, 3)`` as JPEG, as endoscopes store clips: YCbCr, half the colours."""
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    dataset.PixelData = encapsulate([jpeg(frame) for frame in frames])
    dataset["PixelData"].VR = "OB"
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return dataset


def jpeg(frame: np.ndarray) -> bytes:
    """A frame as a JPEG file."""
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, format="JPEG", quality=95, subsampling=1)
    return stream.getvalue()

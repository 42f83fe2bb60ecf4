"""A small CT whose left and right, front and back, head and feet all differ, as NIfTI, any way round, and as DICOM."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from condseg_monai.data.ct.synapse import window_ct

ORIENTATIONS = [
    "".join(codes) for axes in itertools.permutations(("RL", "AP", "SI")) for codes in itertools.product(*axes)
]
"""The 48 ways in which three axes can lie in a patient."""

SHAPE = (20, 26, 9)
AFFINE = np.array([[1.5, 0, 0, -20], [0, 2.0, 0, 7], [0, 0, 5.0, -300], [0, 0, 0, 1]])
ORGANS_HU = {1: -60, 2: 60, 3: 160, 4: 260}


def oblique_affine() -> np.ndarray:
    """The affine, with the patient turned by some 17 degrees about two axes."""
    a, b = 0.3, -0.25
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = AFFINE.copy()
    affine[:3, :3] = about_z @ about_x @ AFFINE[:3, :3]
    return affine


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """Hounsfield units and labels, ``(20, 26, 9)`` towards right, front and head, ``int16`` and ``uint8``."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    body = x**2 / 0.9 + y**2 / 0.8 <= 1
    image = np.where(body, 20, -1000).astype(np.int16)
    label = np.zeros(SHAPE, dtype=np.uint8)
    for organ, (centre, radii) in enumerate(
        (
            ((-0.45, 0.1, -0.2), (0.3, 0.4, 0.7)),  # the patient's left
            ((0.4, -0.3, 0.1), (0.25, 0.3, 0.8)),
            ((0.35, 0.45, 0.5), (0.3, 0.25, 0.4)),
            ((-0.1, -0.6, 0.0), (0.2, 0.2, 1.2)),
        ),
        1,
    ):
        inside = sum(((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), centre, radii, strict=True)) <= 1
        image[inside], label[inside] = ORGANS_HU[organ], organ
    return image, label


def turned(array: np.ndarray, affine: np.ndarray, codes: str) -> tuple[np.ndarray, np.ndarray]:
    """The same volume with its axes leading elsewhere, and the affine that says so."""
    transform = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
    image = nibabel.Nifti1Image(array, affine).as_reoriented(transform)
    return np.asarray(image.dataobj), image.affine


def at_same_places(array: np.ndarray, affine: np.ndarray, other: np.ndarray, other_affine: np.ndarray) -> np.ndarray:
    """For each voxel of ``array``, the value that ``other`` has at the same place in the patient."""
    indices = np.stack(np.meshgrid(*map(np.arange, array.shape[:3]), indexing="ij"), axis=-1)
    places = indices @ affine[:3, :3].T + affine[:3, 3]
    found = (places - other_affine[:3, 3]) @ np.linalg.inv(other_affine[:3, :3]).T
    nearest = np.rint(found).astype(int)
    assert np.abs(found - nearest).max() < 1e-3
    return other[tuple(np.moveaxis(nearest, -1, 0))]


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write a file, and its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def write_h5(
    path: Path, image: np.ndarray, label: np.ndarray, spacing_mm: tuple[float, float, float] | None = None
) -> Path:
    """Write axial slices ``(D, H, W)`` of Hounsfield units and their labels as TransUNet has them."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = window_ct(image), label.astype(np.float32)
        if spacing_mm is not None:
            file.attrs["spacing_mm"] = spacing_mm
    return path


def write_dicom(folder: Path, array: np.ndarray, affine: np.ndarray, prefix: str = "IM", **tags: Any) -> list[Path]:
    """Write Hounsfield units as a CT series, a file per index of the third axis; ``tags`` override those of all files.

    Names and numbers of the files are not in the order of the slices.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    files = []
    for k in range(array.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        number = (7 * k) % array.shape[2] if array.shape[2] % 7 else k
        path = folder / f"{prefix}{number:04d}"
        dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
        dataset.Modality, dataset.SeriesDescription, dataset.InstanceNumber = "CT", "phantom", number + 1
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "Phantom", "1", "", ""
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20200101", "120000", "1", ""
        dataset.ReferringPhysicianName, dataset.Manufacturer, dataset.SeriesNumber = "", "nobody", 1
        dataset.PositionReferenceIndicator = ""
        dataset.ImageOrientationPatient = [f"{v:.10g}"[:16] for i in (0, 1) for v in lps[:3, i] / spacing[i]]
        dataset.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]
        dataset.ImagePositionPatient = [f"{v:.10g}"[:16] for v in lps[:3, 3] + k * lps[:3, 2]]
        dataset.SliceThickness = f"{spacing[2]:.10g}"
        dataset.Columns, dataset.Rows = array.shape[:2]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
        dataset.PixelData = (array[:, :, k].astype(int) + 1024).astype("<u2").T.tobytes()
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.save_as(path, enforce_file_format=True)
        files.append(path)
    return files

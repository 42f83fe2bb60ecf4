"""Write the labels of a DICOM series as DICOM SEG."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.utils import optional_import

from condseg_monai.data.ct.dicom_series import read_dicom_header
from condseg_monai.data.ct.volume import Volume
from condseg_monai.utils.files import atomic_write
from condseg_monai.version import __version__

__all__ = ["SNOMED_CODES", "write_dicom_seg"]

pydicom, _ = optional_import("pydicom")

SNOMED_CODES: dict[str, tuple[str, str]] = {
    "adrenal gland": ("23451007", "Adrenal gland"),
    "aorta": ("15825003", "Aorta"),
    "gallbladder": ("28231008", "Gallbladder"),
    "inferior vena cava": ("64131007", "Inferior vena cava"),
    "kidney": ("64033007", "Kidney"),
    "liver": ("10200004", "Liver"),
    "oesophagus": ("32849002", "Esophagus"),
    "pancreas": ("15776009", "Pancreas"),
    "spleen": ("78961009", "Spleen"),
    "stomach": ("69695003", "Stomach"),
}
"""SNOMED CT codes and meanings of organs, as DICOM spells them; a leading "left" or "right" becomes a modifier."""

_SIDES = {"left": ("7771000", "Left"), "right": ("24028007", "Right")}
_IDENTIFYING = (
    *("AccessionNumber", "PatientBirthDate", "PatientID", "PatientName", "PatientSex", "ReferringPhysicianName"),
    *("StudyDate", "StudyID", "StudyTime"),
)
_OWN_SCHEME = "99CONDSEG"  # of names without a code; a leading 99 marks private schemes


def write_dicom_seg(
    path: str | os.PathLike[str], labels: np.ndarray, volume: Volume, class_names: Sequence[str]
) -> None:
    """Write a binary segmentation with a segment per class; the segment's number is the label's.

    Classes are coded by :data:`SNOMED_CODES`, others by their name in a private scheme. Identifiers that an anonymised
    series lacks are made up, the same for the same series. ``labels`` are ``uint8`` in the shape of ``volume.array``;
    ``class_names`` have the background first.

    Raises:
        ImportError: if highdicom is not installed; the message names the extra.
        ValueError: if ``volume`` is no DICOM series, or ``labels`` has another shape or a number without a name.
    """
    highdicom = _load_highdicom()
    if not volume.is_dicom:
        raise ValueError(f"{volume.path} is no DICOM series, so no DICOM SEG can refer to it")
    if labels.shape != volume.array.shape or int(labels.max()) >= len(class_names):
        raise ValueError(
            f"labels must be {volume.array.shape} with numbers under {len(class_names)}, got {labels.shape} and "
            f"{int(labels.max())}"
        )
    sources = _sources(volume)
    segmentation = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=labels.transpose(2, 1, 0),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(number, name) for number, name in enumerate(class_names) if number],
        series_instance_uid=highdicom.UID(),
        series_number=9000,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="condseg_monai",
        manufacturer_model_name="ConDSeg",
        software_versions=__version__,
        device_serial_number="1",
        series_description="ConDSeg, research only",
        omit_empty_frames=bool(labels.any()),
    )
    with atomic_write(path) as temporary:
        segmentation.save_as(temporary)


def _load_highdicom() -> Any:
    highdicom, found = optional_import("highdicom")  # not at the top: it takes 40 MB of memory
    if not found:
        raise ImportError('DICOM SEG needs highdicom: pip install "condseg_monai[dicom]"')
    return highdicom


def _sources(volume: Volume) -> list[Any]:
    """Headers of the slices' files, with what they lack and highdicom needs."""
    datasets = [read_dicom_header(file) for file in volume.slice_files]
    thickness = f"{np.linalg.norm(volume.affine[:3, 2]):.10g}"
    for dataset, file in zip(datasets, volume.slice_files, strict=True):
        made_up = pydicom.uid.generate_uid(entropy_srcs=[str(volume.path), file.name])
        meta = dataset.file_meta
        dataset.SOPInstanceUID = dataset.get("SOPInstanceUID") or meta.get("MediaStorageSOPInstanceUID") or made_up
        dataset.SOPClassUID = dataset.get("SOPClassUID") or pydicom.uid.CTImageStorage
        dataset.SliceThickness = dataset.get("SliceThickness") or thickness
    seed = [str(dataset.SOPInstanceUID) for dataset in datasets]
    for dataset in datasets:
        dataset.decode()
        dataset.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: highdicom takes no character set with extensions
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            if not dataset.get(name):
                setattr(dataset, name, pydicom.uid.generate_uid(entropy_srcs=[name, *seed]))
        for name in _IDENTIFYING:
            if name not in dataset or not _is_proper(name, str(dataset.get(name))):
                setattr(dataset, name, "")
    return datasets


def _is_proper(name: str, value: str) -> bool:
    """Whether highdicom takes a date, a time or a sex: it raises at 1970-01-01, 12:00:00 and MALE."""
    if name.endswith("Sex"):
        return value in ("F", "M", "O")
    kinds = {"Date": pydicom.valuerep.DA, "Time": pydicom.valuerep.TM}
    try:
        kinds.get(name[-4:], str)(value)
    except ValueError:
        return False
    return True


def _description(number: int, name: str) -> Any:
    highdicom = _load_highdicom()
    side, _, organ = name.partition(" ")
    code = SNOMED_CODES.get(organ if side in _SIDES else name)
    if code is None:
        # DICOM's code values are at most 16 plain characters.
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().upper()
        value = "".join(c if c.isalnum() else "_" for c in plain)[:13] or "CLASS"
        concept = highdicom.sr.CodedConcept(f"{value}_{number}"[:16], _OWN_SCHEME, name[:64])
    else:
        concept = highdicom.sr.CodedConcept(code[0], "SCT", code[1])
        if side in _SIDES:
            modifier = highdicom.sr.CodedConcept(_SIDES[side][0], "SCT", _SIDES[side][1])
            concept.SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=highdicom.sr.CodedConcept("91723000", "SCT", "Anatomical Structure"),
        segmented_property_type=concept,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="ConDSeg",
            family=highdicom.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
            version=__version__,
        ),
    )

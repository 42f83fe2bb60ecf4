"""Write the labels of a DICOM series, or the mask of a DICOM picture, as DICOM SEG."""

from __future__ import annotations

import os
import unicodedata
import uuid
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import optional_import

from condseg_monai.data.ct.volume import Volume
from condseg_monai.data.dicom_files import read_dicom_header
from condseg_monai.data.images.dicom_picture import frame_of
from condseg_monai.inference.predictions import output_name
from condseg_monai.utils.files import atomic_write
from condseg_monai.version import __version__

__all__ = ["SNOMED_CODES", "SaveDicomSegd", "write_dicom_seg", "write_picture_seg"]

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
_ANATOMY = ("91723000", "Anatomical Structure")
_ABNORMALITY = ("49755003", "Morphologically Abnormal Structure")
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
    if not volume.is_dicom:
        raise ValueError(f"{volume.path} is no DICOM series, so no DICOM SEG can refer to it")
    if labels.shape != volume.array.shape or int(labels.max()) >= len(class_names):
        raise ValueError(
            f"labels must be {volume.array.shape} with numbers under {len(class_names)}, got {labels.shape} and "
            f"{int(labels.max())}"
        )
    segmentation = _segmentation(_sources(volume), labels.transpose(2, 1, 0), class_names, _ANATOMY)
    with atomic_write(path) as temporary:
        segmentation.save_as(temporary)


def write_picture_seg(
    path: str | os.PathLike[str],
    mask: np.ndarray,
    image: str | os.PathLike[str],
    class_names: Sequence[str],
    run: str = "",
) -> None:
    """Write a binary segmentation of a DICOM picture, or of a frame of one, with a segment per class.

    It refers to the file of ``image``, of several frames to the one that is named, ``clip.dcm#12``. ``mask`` are class
    numbers ``(H, W)``, ``class_names`` have the background first. Frames of one file are one series, if they are
    written with one ``run``.

    Raises:
        ImportError: if highdicom or pydicom is not installed; the message names the extra.
        ValueError: if ``image`` is no DICOM file, or the mask has another size or a number without a name.
    """
    file, frame = frame_of(image)
    header = read_dicom_header(file)
    size = header.get("Rows"), header.get("Columns")
    if mask.shape != size or int(mask.max()) >= len(class_names):
        raise ValueError(
            f"{image}: its mask must be {size} with numbers under {len(class_names)}, got {mask.shape} and "
            f"{int(mask.max())}"
        )
    has_frames = "NumberOfFrames" in header
    if has_frames:  # highdicom takes no more than one frame of what has no place in a patient, and wants its groups
        header.NumberOfFrames = 1
        groups = header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
        if "PixelMeasuresSequence" not in groups[0]:
            groups[0].PixelMeasuresSequence = [pydicom.Dataset()]
        header.SharedFunctionalGroupsSequence = groups
    sources = _completed([header], [file], str(file), ("StudyInstanceUID", "SeriesInstanceUID"))
    segmentation = _segmentation(sources, mask[None].astype(np.uint8), class_names, _ABNORMALITY)
    segmentation.InstanceNumber = frame or 1
    if run:
        segmentation.SeriesInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[run, header.SOPInstanceUID])
    if has_frames:
        for group in segmentation.SharedFunctionalGroupsSequence:
            if "PixelMeasuresSequence" in group and not len(group.PixelMeasuresSequence[0]):
                del group.PixelMeasuresSequence
        groups = [*segmentation.PerFrameFunctionalGroupsSequence, *segmentation.SharedFunctionalGroupsSequence]
        derivations = [item for group in groups for item in group.get("DerivationImageSequence", ())]
        for item in (segmentation, *derivations):
            for source in item.get("SourceImageSequence", ()):
                source.ReferencedFrameNumber = frame or 1
    with atomic_write(path) as temporary:
        segmentation.save_as(temporary)


class SaveDicomSegd(MapTransform):
    """Save the mask of a DICOM picture as DICOM SEG, by :func:`write_picture_seg`; a file that is there stays.

    Args:
        keys: of the mask, ``(1, H, W)`` class numbers, whose metadata have the picture's file.
        output_dir: the folder of the files, each called as the case's ``name`` says.
        class_names: background first.
    """

    def __init__(self, keys: KeysCollection, output_dir: str | os.PathLike[str], class_names: Sequence[str]) -> None:
        super().__init__(keys)
        self.output_dir, self.class_names = Path(output_dir), tuple(class_names)
        self.run = uuid.uuid4().hex

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Save and return ``data``; an error names the picture."""
        for key in self.key_iterator(dict(data)):
            path = self.output_dir / f"{output_name(data, key)}.dcm"
            if not path.exists():
                mask = np.asarray(data[key].cpu())[0].astype(np.uint8)
                write_picture_seg(path, mask, data[key].meta["filename_or_obj"], self.class_names, self.run)
        return dict(data)


def _segmentation(
    sources: Sequence[Any], frames: np.ndarray, class_names: Sequence[str], category: tuple[str, str]
) -> Any:
    """Class numbers ``(N, rows, columns)``, a frame for each source, as a data set."""
    highdicom = _load_highdicom()
    segments = [_description(number, name, category) for number, name in enumerate(class_names) if number]
    return highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=highdicom.UID(),
        series_number=9000,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="condseg_monai",
        manufacturer_model_name="ConDSeg",
        software_versions=__version__,
        device_serial_number="1",
        series_description="ConDSeg, research only",
        omit_empty_frames=bool(frames.any()),
    )


def _load_highdicom() -> Any:
    highdicom, found = optional_import("highdicom")  # not at the top: it takes 40 MB of memory
    if not found:
        raise ImportError('DICOM SEG needs highdicom: pip install "condseg_monai[dicom]"')
    return highdicom


def _sources(volume: Volume) -> list[Any]:
    """Headers of the slices' files, with what they lack and highdicom needs."""
    datasets = [read_dicom_header(file) for file in volume.slice_files]
    thickness = f"{np.linalg.norm(volume.affine[:3, 2]):.10g}"
    for dataset in datasets:
        dataset.SOPClassUID = dataset.get("SOPClassUID") or pydicom.uid.CTImageStorage
        dataset.SliceThickness = dataset.get("SliceThickness") or thickness
    uids = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    return _completed(datasets, volume.slice_files, str(volume.path), uids)


def _completed(datasets: list[Any], files: Sequence[Path], place: str, uids: Sequence[str]) -> list[Any]:
    """Headers of one series with made-up identifiers where they have none, the same for the same files."""
    for dataset, file in zip(datasets, files, strict=True):
        made_up = pydicom.uid.generate_uid(entropy_srcs=[place, file.name])
        meta = dataset.file_meta
        dataset.SOPInstanceUID = dataset.get("SOPInstanceUID") or meta.get("MediaStorageSOPInstanceUID") or made_up
    seed = [str(dataset.SOPInstanceUID) for dataset in datasets]
    for dataset in datasets:
        dataset.decode()
        dataset.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: highdicom takes no character set with extensions
        for name in uids:
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


def _description(number: int, name: str, category: tuple[str, str]) -> Any:
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
        segmented_property_category=highdicom.sr.CodedConcept(category[0], "SCT", category[1]),
        segmented_property_type=concept,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="ConDSeg",
            family=highdicom.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
            version=__version__,
        ),
    )

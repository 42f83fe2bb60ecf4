"""Compare masks or labels of two files pixel by pixel: ``compare.py OURS THEIRS``; exit 1 if one differs."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image


def read_segments(path: Path) -> dict[tuple, np.ndarray]:
    """Frames of a DICOM SEG by segment and place; frames that are not there are empty."""
    dataset = pydicom.dcmread(path)
    frames = {}
    for frame, group in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        place = group.PlanePositionSequence[0].ImagePositionPatient
        segment = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        frames[(segment, *(round(float(value), 2) for value in place))] = frame
    return frames


def read(path: Path) -> np.ndarray:
    """A mask, rows first and true where the lesion is, or labels in the axes of our NIfTI files."""
    if path.suffix == ".png":
        return np.asarray(Image.open(path)) > 0
    if path.suffix == ".npy":
        array = np.load(path).squeeze()
        return array > 0 if array.ndim == 2 else array.T
    return np.asarray(nib.load(path).dataobj)


paths = [Path(name) for name in sys.argv[1:]]
if paths[0].suffix == ".dcm":
    found = [read_segments(path) for path in paths]
    keys = sorted(found[0].keys() | found[1].keys())
    empty = np.zeros_like(next(iter(found[0].values())))
    ours, theirs = (np.stack([frames.get(key, empty) for key in keys]) for frames in found)
else:
    ours, theirs = map(read, paths)
if ours.shape != theirs.shape:
    sys.exit(f"shapes {ours.shape} and {theirs.shape}")
if not 0 < np.count_nonzero(ours) < ours.size:
    sys.exit("the mask is empty or full: it shows nothing")
differ = np.count_nonzero(ours != theirs)
print(f"{differ:,} of {ours.size:,} pixels differ")
sys.exit(int(differ > 0))

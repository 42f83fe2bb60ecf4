"""Synthetic abdominal CT with the eight organs of Synapse, for demonstrations and tests."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from scipy.ndimage import gaussian_filter

from condseg_monai.data.ct.synapse import synapse_class_names

__all__ = ["make_ct_phantom", "make_synthetic_ct"]


class _Ellipsoid(NamedTuple):
    """An organ in a box from -1 (feet, front, the patient's right) to 1; a radius of infinity is a cylinder."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    hu: float


# In this order, none covering what came before. Hounsfield units of a portal venous phase.
_ORGANS = {
    "aorta": _Ellipsoid((0.0, 0.28, 0.08), (np.inf, 0.09, 0.08), 170),
    "left kidney": _Ellipsoid((-0.3, 0.42, 0.42), (0.45, 0.2, 0.16), 200),
    "right kidney": _Ellipsoid((-0.4, 0.42, -0.40), (0.45, 0.2, 0.16), 200),
    "gallbladder": _Ellipsoid((-0.1, -0.40, -0.28), (0.3, 0.16, 0.13), 10),
    "spleen": _Ellipsoid((0.45, 0.30, 0.60), (0.4, 0.28, 0.17), 130),
    "pancreas": _Ellipsoid((-0.05, -0.02, 0.14), (0.25, 0.13, 0.36), 90),
    "stomach": _Ellipsoid((0.45, -0.38, 0.30), (0.4, 0.28, 0.30), 30),
    "liver": _Ellipsoid((0.35, -0.05, -0.42), (0.6, 0.52, 0.36), 110),
}
_AIR, _FAT, _MUSCLE, _BONE, _LUNG = -1000, -100, 55, 450, -800


def make_ct_phantom(
    seed: int = 0, shape: Sequence[int] = (24, 64, 80), noise_hu: float = 12.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one patient: ellipsoid organs of varying place and size, fat, muscle, spine and lungs, blur and noise.

    Returns:
        Hounsfield units ``int16`` and labels ``uint8`` in TransUNet's order, both ``(D, H, W)``, each at least 8.
    """
    if len(shape) != 3 or min(shape) < 8:
        raise ValueError(f"shape must be (D, H, W), each at least 8, got {tuple(shape)}")
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    width, height = rng.uniform(0.86, 0.94), rng.uniform(0.76, 0.84)
    body = (x / width) ** 2 + (y / height) ** 2
    image = np.where(body <= 1, np.where(body <= 0.8, _MUSCLE, _FAT), _AIR).astype(np.float64)
    image[(body <= 0.5) & (rng.random(shape) < 0.4)] = _FAT  # fat between the bowels
    lung = (body <= 0.6) & (z - 0.75 > 0.8 * ((x**2 + y**2) - 0.1))
    image[lung] = _LUNG
    image[(x / 0.14) ** 2 + ((y - 0.52) / 0.14) ** 2 <= 1] = _BONE
    names = synapse_class_names("transunet")
    label = np.zeros(shape, dtype=np.uint8)
    for name, organ in _ORGANS.items():
        centre = np.array(organ.centre) * height / 0.8 + rng.uniform(-0.04, 0.04, 3)
        radii = np.array(organ.radii) * rng.uniform(0.9, 1.1, 3)
        distance = sum(((axis - c) / r) ** 2 for axis, c, r in zip((z, y, x), centre, radii, strict=True))
        inside = (distance <= 1) & (label == 0) & (body <= 0.9)
        label[inside] = names.index(name)
        image[inside] = organ.hu + rng.uniform(-8, 8)
    image = gaussian_filter(image, (0, 0.5, 0.5)) + rng.normal(0, noise_hu, shape)
    return np.clip(image, -1024, 3071).round().astype(np.int16), label


def make_synthetic_ct(
    directory: str | PathLike[str],
    num_cases: int = 6,
    shape: Sequence[int] = (24, 64, 80),
    spacing_mm: Sequence[float] = (8.0, 4.5, 4.5),
    seed: int = 0,
) -> Path:
    """Write phantoms as NIfTI pairs, ``img/scan00.nii.gz`` and ``label/scan00.nii.gz`` and so on; return the folder.

    ``shape`` and ``spacing_mm`` are (D, H, W). A folder that is not empty is a FileExistsError.
    """
    root = Path(directory)
    if root.exists() and any(root.iterdir()):
        raise FileExistsError(f"{root} is not empty; give a new folder")
    depth, height, width = spacing_mm
    affine = np.diag([-width, -height, depth, 1.0])  # the axes lead to the left, the back and the head
    for folder in ("img", "label"):
        (root / folder).mkdir(parents=True)
    for index in range(num_cases):
        image, label = make_ct_phantom(seed + index, shape)
        for folder, array in (("img", image), ("label", label)):
            volume = nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine)
            nibabel.save(volume, root / folder / f"scan{index:02d}.nii.gz")
    return root

"""Layouts of downloaded archives: which file is an image, which its mask."""

from __future__ import annotations

import filecmp
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from condseg_monai.data.images.image_reader import IMAGE_EXTENSIONS, read_natural_image
from condseg_monai.data.lists.pairing import DatasetError

__all__ = ["LAYOUTS", "DownloadedFiles", "Layout", "binary_instance_mask", "find_downloaded"]

_KVASIR_IMAGE, _KVASIR_MASK = (rf"(?:.*/)?{folder}/(?P<id>[^/]+)" for folder in ("images", "masks"))
_GLAS = r"(?:.*/)?(?P<id>(?:train|testA|testB)_\d+)"
_ISIC = r"(?:.*/)?(?P<id>ISIC_\d{7})"
_ISIC_MASK = _ISIC + "_[sS]egmentation"  # capital in 2016, small in 2017
_ISIC_2018 = r"(?:.*/)?ISIC2018_Task1{}_(?P<folder>Training|Validation|Test)_{}/(?:.*/)?(?P<id>ISIC_\d{{7}}){}"
_PRANET_SETS = {"CVC-300": 60, "CVC-ClinicDB": 62, "CVC-ColonDB": 380, "ETIS-LaribPolypDB": 196, "Kvasir": 100}
_PRANET = rf"(?:.*/)?(?P<folder>TrainDataset|{'|'.join(_PRANET_SETS)})"
_LGG = r"(?:.*/)?(?P<id>TCGA_\w{2}_\w{4}_\d{8}_\d+)"


class List(NamedTuple):
    """A list that a folder of a download stands for, and how many cases it has."""

    name: str
    cases: int


class Layout(NamedTuple):
    """One dataset as it is downloaded.

    Attributes:
        title: its name.
        image: regular expression with a group ``id`` for paths of images below the source, without extension.
        mask: the same for masks.
        expected: the files, in words.
        instances: whether masks have a number per object.
        lists: of a download whose folders are its lists, the list of each folder, the group ``folder`` of both
            expressions. Names of one folder may be those of another: ids have the list's name in front, ``train/1``.
        patients: whether ids are a patient's with ``_`` and a number behind, and many of the slices have no lesion.
    """

    title: str
    image: str
    mask: str
    expected: str
    instances: bool = False
    lists: Mapping[str, List] = {}
    patients: bool = False


LAYOUTS: dict[str, Layout] = {
    "kvasir-seg": Layout(
        "Kvasir-SEG", _KVASIR_IMAGE, _KVASIR_MASK, "Kvasir-SEG/images/*.jpg and Kvasir-SEG/masks/*.jpg"
    ),
    "kvasir-sessile": Layout(
        "Kvasir-Sessile",
        _KVASIR_IMAGE,
        _KVASIR_MASK,
        "sessile-main-Kvasir-SEG/images/*.jpg and sessile-main-Kvasir-SEG/masks/*.jpg",
    ),
    "glas": Layout(
        "GlaS", _GLAS, _GLAS + "_anno", "train_1.bmp, train_1_anno.bmp, testA_1.bmp, testB_1.bmp and so on", True
    ),
    "isic2016": Layout(
        "ISIC-2016",
        _ISIC,
        _ISIC_MASK,
        "the folders ISBI2016_ISIC_Part1_Training_Data, _Training_GroundTruth, _Test_Data, _Test_GroundTruth "
        "with ISIC_0000000.jpg and ISIC_0000000_Segmentation.png",
    ),
    "isic2017": Layout(
        "ISIC-2017",
        _ISIC,
        _ISIC_MASK,
        "the folders ISIC-2017_Training_Data, _Training_Part1_GroundTruth, the same for _Validation and "
        "_Test_v2, with ISIC_0000000.jpg and ISIC_0000000_segmentation.png",
    ),
    "isic2018": Layout(
        "ISIC-2018",
        _ISIC_2018.format("-2", "Input", ""),
        _ISIC_2018.format("", "GroundTruth", "_segmentation"),
        "the folders ISIC2018_Task1-2_Training_Input, ISIC2018_Task1_Training_GroundTruth, the same for _Validation "
        "and _Test, with ISIC_0000000.jpg and ISIC_0000000_segmentation.png",
        lists={"Training": List("train", 2594), "Validation": List("val", 100), "Test": List("test", 1000)},
    ),
    "pranet": Layout(
        "PraNet's polyps",
        _PRANET + r"/(?i:images?)/(?P<id>[^/]+)",
        _PRANET + r"/(?i:masks?)/(?P<id>[^/]+)",
        f"the folders TrainDataset and, in TestDataset, {', '.join(_PRANET_SETS)}, each with images/*.png and "
        "masks/*.png",
        lists={
            "TrainDataset": List("train", 1450),
            **{name: List(name.lower().replace("-", "_"), cases) for name, cases in _PRANET_SETS.items()},
        },
    ),
    "lgg-mri": Layout(
        "LGG brain MRI",
        _LGG,
        _LGG + "_mask",
        "kaggle_3m/*/TCGA_CS_4941_19960909_1.tif and TCGA_CS_4941_19960909_1_mask.tif and so on",
        patients=True,
    ),
}
"""Data set -> layout, by the names that ``condseg prepare`` takes."""


class DownloadedFiles(NamedTuple):
    """Image and mask files by id, and image files that are neither: superpixels, overlays."""

    images: dict[str, Path]
    masks: dict[str, Path]
    left_out: list[Path]


def find_downloaded(source: Path, layout: Layout) -> DownloadedFiles:
    """Sort the image files below a folder, at any depth, into images and masks.

    Raises:
        DatasetError: if there is no image or no mask at all, or an id has two files that differ.
    """
    if not source.is_dir():
        raise DatasetError(f"{source} is not a folder")
    found = DownloadedFiles({}, {}, [])
    clashes: list[str] = []
    for path in _image_files(source):
        name = path.relative_to(source).with_suffix("").as_posix()
        for pattern, files in ((layout.mask, found.masks), (layout.image, found.images)):
            if (match := re.fullmatch(pattern, name)) is not None:
                folder = f"{layout.lists[match['folder']].name}/" if layout.lists else ""
                first = files.setdefault(folder + match["id"], path)
                if first != path and not filecmp.cmp(first, path, shallow=False):
                    clashes.append(f"{first} and {path}")
                break
        else:
            found.left_out.append(path)
    if not found.images or not found.masks:
        raise DatasetError(
            f"{source} has {len(found.images)} images and {len(found.masks)} masks of {layout.title} "
            f"(and {len(found.left_out)} other images); it should hold {layout.expected}"
        )
    if clashes:
        lines = "\n".join(f"  - {clash}" for clash in clashes[:20])
        raise DatasetError(f"{len(clashes)} ids have two files that differ; take one of each away:\n{lines}")
    return found


def binary_instance_mask(path: Path) -> np.ndarray:
    """Read a mask with a number per object, grey or palette indices, as ``(H, W)`` ``uint8``: 255 where it is not 0."""
    values = read_natural_image(path, mode="L")
    with Image.open(path) as image:
        if image.format == "JPEG":
            raise DatasetError(f"{path} is a JPEG, which does not keep numbers; use the files of the archive")
        if image.mode == "P":
            values = np.asarray(image)
    return (values > 0).astype(np.uint8) * np.uint8(255)


def _image_files(folder: Path) -> Iterator[Path]:
    """Image files in a folder and below, sorted; links to folders are followed once, hidden names left out."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() in IMAGE_EXTENSIONS and not name.startswith("."):
                yield path

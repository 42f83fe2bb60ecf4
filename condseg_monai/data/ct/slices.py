"""Axial CT slices with labels, in TransUNet's files: listing, reading, resizing."""

from __future__ import annotations

import logging
import os
import re
import zipfile
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform

from condseg_monai.data.ct.h5_volume import open_h5
from condseg_monai.data.ct.slice_resize import resize_label_slice, resize_slice
from condseg_monai.data.lists.pairing import SPLITS, DatasetError, read_list
from condseg_monai.data.lists.published_splits import published_list
from condseg_monai.utils.files import read_json_object

__all__ = ["LoadSliced", "ResizeSliced", "check_slices"]

_SLICES, _VOLUMES = "train_npz", "test_vol_h5"
_LIST_FOLDERS = ("", "lists_Synapse", "lists/lists_Synapse")
_LAYOUT = (
    f"a data set of slices is a folder with {_SLICES}/caseNNNN_sliceSSS.npz, {_VOLUMES}/caseNNNN.npy.h5 and lists of "
    "their names, as TransUNet has it and as `condseg prepare synapse` makes it"
)
_MOST_NAMED = 20
MAX_SLICE_BYTES = 1 << 28
"""A slice that unpacks to more is refused: a few megabytes may hold gigabytes. 4096 x 4096 slices have a third."""

SliceCase = dict[str, Any]


def check_slices(
    dataset_dir: str | PathLike[str], splits: Sequence[str], class_names: Sequence[str], check: bool = True
) -> dict[str, list[SliceCase]]:
    """List the slices of some splits, after looking at every one of them.

    ``train.txt`` and ``val.txt`` name slices (``case0005_slice000``, a file of ``train_npz``), ``test_vol.txt`` or
    ``test.txt`` cases (``case0001``, a file of ``test_vol_h5``); each may name either. Lists are looked for in
    ``dataset_dir``, ``lists_Synapse`` and ``lists/lists_Synapse``; in their place for training and testing stand
    TransUNet's. ``class_names``, background first, must be those of ``dataset.json``, if there is one. ``check=False``
    only looks for the files.

    Returns:
        For each split a dictionary per slice: ``image`` and ``label``, the same path; ``slice``, its index in a volume,
            or -1; ``has_organ``, True if not checked; and ``modified``, which changes when the file does.

    Raises:
        DatasetError: listing missing or unreadable files, other shapes, images outside [0, 1], labels beyond
            ``class_names``, slices in two lists.
        ValueError: if a split is not one of ``"train"``, ``"val"`` and ``"test"``.
    """
    if unknown := [split for split in splits if split not in SPLITS]:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {', '.join(map(repr, unknown))}")
    root = Path(dataset_dir)
    problems = _class_problems(root, class_names)
    cases: dict[str, list[SliceCase]] = {}
    for split in dict.fromkeys(splits):
        try:
            names = _read_names(root, split)
        except DatasetError as error:
            problems.append(str(error))
            continue
        cases[split] = []
        for name in names:
            try:
                cases[split] += _cases_of(root, name, len(class_names), check)
            except Exception as error:  # whatever a case raises belongs to that case
                known = isinstance(error, DatasetError)
                problems.append(f"{split}: {error}" if known else f"{split}: {name}: {type(error).__name__}: {error}")
    problems += _overlaps(cases)
    if problems:
        named = "\n".join(f"  - {problem}" for problem in problems[:_MOST_NAMED])
        more = f"\n  - and {len(problems) - _MOST_NAMED} more" if len(problems) > _MOST_NAMED else ""
        raise DatasetError(f"the data set {os.fspath(root)} has {len(problems)} problem(s):\n{named}{more}")
    return cases


def read_slice(path: str | PathLike[str], index: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """Read image, ``float32``, and label, ``uint8``, ``(H, W)`` each, of an ``.npz`` or of a slice of an ``.h5``."""
    file = Path(path)
    try:
        if file.suffix == ".npz":
            with file.open("rb") as stream, zipfile.ZipFile(stream) as archive:
                size = sum(member.file_size for member in archive.infolist())
            _check_unpacked(file, size)
            with np.load(file, allow_pickle=False) as content:
                image, label = content["image"], content["label"]
        else:
            with open_h5(file) as content:
                _check_unpacked(file, sum(content[key].nbytes // len(content[key]) for key in ("image", "label")))
                image, label = content["image"][index], content["label"][index]
    except DatasetError:
        raise
    except Exception as error:  # of zlib, zipfile, NumPy or HDF5
        raise DatasetError(f"{file} cannot be read as slice and label ({error}); {_LAYOUT}") from error
    if image.ndim != 2 or image.shape != label.shape or not image.size:
        raise DatasetError(f"{file}: image and label must be (H, W) of one size, got {image.shape} and {label.shape}")
    if not {image.dtype.kind, label.dtype.kind} <= set("biuf"):
        raise DatasetError(f"{file}: image and label must be real numbers, got {image.dtype} and {label.dtype}")
    numbers = label.astype(np.uint8)
    if not np.array_equal(numbers, label):
        raise DatasetError(
            f"{file}: the label must hold whole numbers from 0 to 255, got {label.min()} to {label.max()}"
        )
    return image.astype(np.float32), numbers


def _check_unpacked(file: Path, size: int) -> None:
    if size > MAX_SLICE_BYTES:
        raise DatasetError(f"{file} unpacks to {size} bytes, more than the limit of {MAX_SLICE_BYTES} of a slice")


class LoadSliced(MapTransform):
    """Read the slice and the label that a case of :func:`check_slices` names, as ``(1, H, W)`` ``float32``.

    ``keys`` are the image's, which holds the path, and the label's; a label of ``num_classes`` or more is a
    DatasetError.
    """

    def __init__(self, keys: KeysCollection, num_classes: int) -> None:
        super().__init__(keys)
        if len(self.keys) != 2:
            raise ValueError(f"keys must be those of image and label, got {self.keys}")
        self.num_classes = num_classes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with image and label."""
        image_key, label_key = self.keys
        image, label = read_slice(data[image_key], data.get("slice", -1))
        _check_numbers(data[image_key], label, self.num_classes)
        arrays = {image_key: image, label_key: label.astype(np.float32)}
        return {**data, **{key: torch.from_numpy(array)[None] for key, array in arrays.items()}}


class ResizeSliced(Transform):
    """Resize a slice ``(C, H, W)`` by cubic splines and its label ``(1, H, W)`` to the nearest, as inference does."""

    def __init__(self, image_key: str, label_key: str, spatial_size: Sequence[int]) -> None:
        self.image_key, self.label_key = image_key, label_key
        self.size = (int(spatial_size[0]), int(spatial_size[1]))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with both resized."""
        image = [resize_slice(channel, self.size) for channel in np.asarray(data[self.image_key])]
        label = [resize_label_slice(channel, self.size) for channel in np.asarray(data[self.label_key])]
        resized = {self.image_key: image, self.label_key: label}
        return {**data, **{key: torch.from_numpy(np.stack(array)) for key, array in resized.items()}}


def _class_problems(root: Path, class_names: Sequence[str]) -> list[str]:
    record = root / "dataset.json"
    try:
        names = read_json_object(record).get("class_names") if record.is_file() else None
    except ValueError as error:
        return [str(error)]
    if names is None or list(names) == list(class_names):
        return []
    listed, asked = ", ".join(names), ", ".join(class_names)
    return [f"by {record} the classes are {listed}, but --class_names (or --organ_order) says {asked}"]


def _read_names(root: Path, split: str) -> list[str]:
    files = ("test_vol.txt", "test.txt") if split == "test" else (f"{split}.txt",)
    there = [path for folder in _LIST_FOLDERS for file in files if (path := root / folder / file).is_file()]
    if there:
        names = [re.sub(r"(\.npz|\.npy\.h5)$", "", line) for line in read_list(there[0])]
        repeated = sorted(name for name, count in Counter(names).items() if count > 1)
        if not names or repeated:
            raise DatasetError(f"{there[0]} {'names twice: ' + ', '.join(repeated) if names else 'is empty'}")
        return names
    if split == "val":
        raise DatasetError(
            "val.txt is missing, and none is published: prepare with --hold_out val=N to take N training cases for it, "
            "or train with --split test to select the model on the test cases"
        )
    logging.getLogger(__name__).info(f"{root} has no {files[0]}: taking the list that TransUNet published")
    return published_list("synapse", split)


def _cases_of(root: Path, name: str, num_classes: int, check: bool) -> list[SliceCase]:
    one, volume = root / _SLICES / f"{name}.npz", root / _VOLUMES / f"{name}.npy.h5"
    found = [(one, -1)]
    if not one.is_file():
        if not volume.is_file():
            raise DatasetError(f"{name}: there is neither {one} nor {volume}")
        with open_h5(volume) as content:
            found = [(volume, index) for index in range(len(content["image"]))]
    cases = []
    for path, index in found:
        stat = path.stat()
        case: SliceCase = {"image": str(path), "label": str(path), "slice": index, "has_organ": True}
        if check:
            image, label = read_slice(path, index)
            if not np.isfinite(image).all() or image.min() < -0.01 or image.max() > 1.01:
                raise DatasetError(f"{path}: the image must be windowed to [0, 1], got {image.min()} to {image.max()}")
            _check_numbers(path, label, num_classes)
            case["has_organ"] = bool(label.any())
        cases.append({**case, "modified": f"{stat.st_size} {stat.st_mtime_ns}"})
    return cases


def _check_numbers(path: str | PathLike[str], label: np.ndarray, num_classes: int) -> None:
    if (highest := int(label.max())) >= num_classes:
        raise DatasetError(
            f"{os.fspath(path)}: the label has the number {highest}, but there are {num_classes} classes, 0 to "
            f"{num_classes - 1}; are these the 13 organs of BTCV? `condseg prepare synapse` maps them"
        )


def _overlaps(cases: Mapping[str, Sequence[SliceCase]]) -> list[str]:
    """Slices in two splits; of cases that are in both, the log warns."""
    problems = []
    for first, second in combinations(cases, 2):
        slices = [{(case["image"], case["slice"]) for case in cases[split]} for split in (first, second)]
        volumes = [{_case_name(path) for path, _ in paths} for paths in slices]
        if shared := sorted(slices[0] & slices[1]):
            problems.append(f"{len(shared)} slices are in both {first} and {second}, {shared[0][0]} for one")
        elif common := sorted(volumes[0] & volumes[1]):
            logging.getLogger(__name__).warning(
                f"{', '.join(common[:5])}: slices in both {first} and {second}; "
                "neighbouring slices are alike, so that scores look better than they are"
            )
    return problems


def _case_name(path: str) -> str:
    return re.sub(r"(_slice\d+)?(\.npz|\.npy\.h5)$", "", Path(path).name)

"""Which image belongs to which mask and split, checked before any training starts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from condseg_monai.data.image_reader import UnreadableImageError, read_natural_image
from condseg_monai.data.pairing import Case, DatasetError, find_cases, name_key

__all__ = ["check_datalist", "datalist_hash", "load_datalist"]


def load_datalist(
    dataset_dir: str | PathLike[str],
    split: str,
    check_splits: Sequence[str] | None = None,
    mask_threshold: float | None = None,
) -> list[Case]:
    """List the cases of one split, in the order of its list, after checking them.

    Expects ``images/``, ``masks/`` and ``{split}.txt`` in ``dataset_dir``. A line is a stem or a file name; image and
    mask share the stem, and each may have any extension of ``IMAGE_EXTENSIONS`` in any case.

    Args:
        dataset_dir: folder of the data set.
        split: ``"train"``, ``"val"`` or ``"test"``.
        check_splits: splits to open and check with :func:`check_datalist`, so that one error names all bad cases; None
            checks ``split`` alone, an empty sequence only pairs the names.
        mask_threshold: see :func:`check_datalist`.

    Returns:
        One ``{"image": path, "label": path}`` a case.

    Raises:
        DatasetError: listing every bad case.
        ValueError: if a split is not one of the three.

    Example:
        >>> load_datalist("kvasir-seg", "val")[0]
        {'image': 'kvasir-seg/images/cju0qkwl.jpg', 'label': 'kvasir-seg/masks/cju0qkwl.jpg'}
    """
    checked = (split,) if check_splits is None else tuple(check_splits)
    datalists = check_datalist(dataset_dir, checked, mask_threshold) if checked else {}
    if split not in datalists:
        datalists, problems = find_cases(Path(dataset_dir), (split,))
        _raise_if_any(dataset_dir, problems)
    return datalists[split]


def check_datalist(
    dataset_dir: str | PathLike[str],
    splits: Sequence[str] = ("train", "val"),
    mask_threshold: float | None = None,
) -> dict[str, list[Case]]:
    """Find, open and compare every image and mask of some splits, and raise one error that lists all that is wrong.

    Wrong are: a missing folder or list, an empty list, a line that is there twice or in two lists, a line without an
    image or without a mask, a stem with two files (``a.jpg`` and ``a.png``), a file that cannot be decoded to its last
    pixel, and an image and mask of different sizes after EXIF rotation. Overlap is looked for in all lists there are.

    Args:
        dataset_dir: folder of the data set, laid out as :func:`load_datalist` says.
        splits: the splits that are about to be used.
        mask_threshold: if given, masks that are not all empty must have a value above it, in [0, 255], somewhere. Those
            that have not are stored as 0 and 1 or as instance numbers and want a threshold of 0.

    Returns:
        For each of ``splits`` its cases, as :func:`load_datalist` returns them.

    Raises:
        DatasetError: listing every bad case.
        ValueError: if a split is not one of the three.
    """
    cases, problems = find_cases(Path(dataset_dir), splits)
    unique = list({case["image"]: case for split in splits for case in cases[split]}.values())
    with ThreadPoolExecutor(max_workers=(os.cpu_count() or 1) + 2) as pool:
        checked = list(pool.map(_check_case, unique))
    problems += [problem for case in checked for problem in case.problems]
    largest = max((case.largest_mask_value for case in checked), default=0.0)
    if mask_threshold is not None and 0 < largest <= mask_threshold:
        problems.append(
            f"no mask has a value above mask_threshold={mask_threshold:g}, the largest is {largest:g}; "
            "set mask_threshold to 0 for masks of 0 and 1 or of instance numbers"
        )
    _raise_if_any(dataset_dir, problems)
    return cases


def datalist_hash(datalist: Iterable[Mapping[str, str | PathLike[str]]]) -> str:
    """SHA-256 over the stems of the images in their order: equal for equal splits, wherever and however stored.

    Args:
        datalist: cases with an ``image`` path.

    Returns:
        64 hexadecimal digits.
    """
    stems = (name_key(Path(case["image"]).stem) for case in datalist)
    return hashlib.sha256("\n".join(stems).encode()).hexdigest()


class _Checked(NamedTuple):
    problems: list[str]
    largest_mask_value: float


def _check_case(case: Case) -> _Checked:
    """Decode an image and its mask and compare their sizes."""
    problems: list[str] = []
    sizes: dict[str, str] = {}
    largest = 0.0
    for key, mode in (("image", "RGB"), ("label", "L")):
        try:
            array = read_natural_image(case[key], mode)
        except UnreadableImageError as error:
            problems.append(str(error))
            continue
        sizes[key] = f"{array.shape[1]}x{array.shape[0]}"
        largest = float(array.max()) if key == "label" else largest
    if len(set(sizes.values())) > 1:
        problems.append(
            f"{case['image']} is {sizes['image']} pixels (after EXIF rotation), "
            f"its mask {case['label']} {sizes['label']}"
        )
    return _Checked(problems, largest)


def _raise_if_any(dataset_dir: str | PathLike[str], problems: Sequence[str]) -> None:
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise DatasetError(
            f"the data set {os.fspath(dataset_dir)} has {len(problems)} problem(s); "
            f"mend them or take the cases off the lists:\n{lines}"
        )

"""Which image belongs to which mask and split, checked before any training starts."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

from condseg_monai.data.lists.dataset_report import inspect_dataset
from condseg_monai.data.lists.pairing import Case, find_cases, name_key, raise_if_any

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
        datalists = check_datalist(dataset_dir, (split,), check=False)
    return datalists[split]


def check_datalist(
    dataset_dir: str | PathLike[str],
    splits: Sequence[str] = ("train", "val"),
    mask_threshold: float | None = None,
    check: bool = True,
) -> dict[str, list[Case]]:
    """Find, open and compare every image and mask of some splits, and raise one error that lists all that is wrong.

    The checks are those of :func:`~condseg_monai.data.inspect_dataset` and of ``python -m condseg_monai check-data``.
    Its errors are raised, its warnings logged.

    Args:
        dataset_dir: folder of the data set, laid out as :func:`load_datalist` says.
        splits: the splits that are about to be used.
        mask_threshold: mask values above it are foreground, in [0, 255); None is 127 and lets masks pass that have
            values and none above it.
        check: False only pairs the names and opens no image, for data that were checked before.

    Returns:
        For each of ``splits`` its cases, as :func:`load_datalist` returns them.

    Raises:
        DatasetError: listing every bad case.
        ValueError: if a split is not one of the three.
    """
    if not check:
        cases, problems, _ = find_cases(Path(dataset_dir), splits)
        raise_if_any(dataset_dir, problems)
        return cases
    report = inspect_dataset(dataset_dir, splits, 127 if mask_threshold is None else mask_threshold)
    errors = [error for error in report.errors if mask_threshold is not None or error.kind != "mask values"]
    raise_if_any(dataset_dir, errors)
    for warning in report.warnings:
        logging.getLogger(__name__).warning(f"{os.fspath(dataset_dir)}: {warning.text}")
    return report.cases


def datalist_hash(datalist: Iterable[Mapping[str, str | PathLike[str]]]) -> str:
    """SHA-256 over the stems of the images in their order: equal for equal splits, wherever and however stored.

    Args:
        datalist: cases with an ``image`` path.

    Returns:
        64 hexadecimal digits.
    """
    stems = (name_key(Path(case["image"]).stem) for case in datalist)
    return hashlib.sha256("\n".join(stems).encode()).hexdigest()

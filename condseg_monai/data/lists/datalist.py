"""Datalists of a dataset's splits, checked before any training starts."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

from condseg_monai.data.lists.dataset_report import inspect_pairing
from condseg_monai.data.lists.pairing import Case, Pairing, case_name, find_cases, find_unlisted, name_key, raise_if_any

__all__ = ["check_datalist", "content_hash", "datalist_hash"]

_HASHED_BYTES = 8 << 20


def check_datalist(
    dataset_dir: str | PathLike[str],
    splits: Sequence[str] = ("train", "val"),
    mask_threshold: float | None = None,
    check: bool = True,
    classes: Mapping[str, Any] | None = None,
    fold: int | None = None,
    mask_suffix: str = "",
) -> dict[str, list[Case]]:
    """List the cases of some splits, in the order of their lists, after opening and comparing every image and mask.

    Expects ``images/``, ``masks/`` and ``{split}.txt`` in ``dataset_dir``; of a ``fold`` the lists are in
    ``folds/{fold}``. A line is a stem or a file name, with its sub-folder of ``images/`` in front if it is in one;
    image and mask share it but for ``mask_suffix`` behind the mask's stem, with any extension of ``IMAGE_EXTENSIONS``.
    The checks are those of ``condseg check``: errors are raised, warnings logged; ``check=False`` opens no image.
    ``mask_threshold`` and ``classes`` say what masks mean, as for
    :func:`~condseg_monai.data.lists.dataset_report.inspect_dataset`.

    Raises:
        DatasetError: listing every bad case.

    Example:
        >>> check_datalist("kvasir-seg", ["val"])["val"][0]
        {'image': 'kvasir-seg/images/cju0qkwl.jpg', 'label': 'kvasir-seg/masks/cju0qkwl.jpg'}
    """
    root = Path(dataset_dir)
    pairing = find_cases(root, splits, fold, mask_suffix)
    if check:
        check_files(root, pairing, mask_threshold, classes, unlisted=True, mask_suffix=mask_suffix)
    raise_if_any(root, pairing.problems)
    return pairing.cases


def check_files(
    root: Path,
    pairing: Pairing,
    mask_threshold: float | None,
    classes: Mapping[str, Any] | None = None,
    unlisted: bool = False,
    mask_suffix: str = "",
) -> None:
    """Open and compare the files of paired cases, raise one error for all that is wrong, and log warnings."""
    there = unlisted and all((root / name).is_dir() for name in ("images", "masks"))
    warnings = find_unlisted(root, pairing.listed, mask_suffix) if there else []
    report = inspect_pairing(root, pairing, mask_threshold, classes, warnings)
    raise_if_any(root, report.errors)
    for warning in report.warnings:
        logging.getLogger(__name__).warning(f"{root}: {warning.text}")


def datalist_hash(datalist: Iterable[Mapping[str, str | PathLike[str]]]) -> str:
    """SHA-256 over the names of the cases in their order: equal for equal splits, wherever and however stored."""
    names = (name_key(case_name(case)) for case in datalist)
    return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()


def content_hash(datalist: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 over image and label files of the cases in their order: equal for equal files, in whichever folder.

    Of each file its size counts and the first 8 MiB, which is all of an image or a slice. Large volumes are not read to
    the end, and those of many cases once, so that a training starts without delay.
    """
    digest_of = cache(_file_digest)
    files = (f"{key} {digest_of(str(case[key]))}" for case in datalist for key in ("image", "label") if key in case)
    return hashlib.sha256("\n".join(files).encode()).hexdigest()


def _file_digest(path: str) -> str:
    with Path(path).open("rb") as stream:
        return f"{os.fstat(stream.fileno()).st_size} {hashlib.sha256(stream.read(_HASHED_BYTES)).hexdigest()}"

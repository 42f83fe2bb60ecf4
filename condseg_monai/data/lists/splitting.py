"""Seeded splits and folds of a data set, stratified by lesion size, that keep groups of images together."""

from __future__ import annotations

import csv
import hashlib
import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from condseg_monai.data.images.image_reader import read_natural_image
from condseg_monai.data.images.mask_reader import binarize, read_mask
from condseg_monai.data.lists.datalist import datalist_hash
from condseg_monai.data.lists.dataset_report import no_mask_text
from condseg_monai.data.lists.pairing import (
    Case,
    DatasetError,
    case_name,
    fold_dir,
    name_key,
    pair_all,
    raise_if_any,
    stem_of_line,
)
from condseg_monai.utils.files import atomic_write, write_json
from condseg_monai.version import __version__

__all__ = ["read_groups", "split_dataset"]

_RECORD = "split.json"
_SIZES = 4  # strata of lesion size: quarters of the images that have a lesion


def split_dataset(
    dataset_dir: str | os.PathLike[str],
    shares: Mapping[str, float] | None = None,
    folds: int | None = None,
    seed: int = 0,
    group: str | os.PathLike[str] | None = None,
    mask_threshold: float = 127,
    mask_suffix: str = "",
    overwrite: bool = False,
    classes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the lists of a data set, ``images/`` and ``masks/``, and ``split.json``, a record of how they were made.

    Cases are spread so that every list has its share of each quarter of lesion sizes and of the empty masks. Cases of a
    group stay together, as do images with the same pixels.

    Args:
        dataset_dir: the data set.
        shares: of ``train``, ``val`` and ``test``, summing to 1; 0 for no list; default 0.8, 0.1, 0.1.
        folds: instead, make ``folds/K/train.txt`` and ``folds/K/val.txt`` for K from 0; with a ``test`` in ``shares``,
            ``test.txt`` is held out of all of them.
        seed: of the order of cases.
        group: see :func:`read_groups`; None: each case by itself.
        mask_threshold: mask values above it are lesion.
        mask_suffix: what masks have behind the stem of their image, such as ``_mask``.
        overwrite: replace lists that are there, and remove those of further folds.
        classes: of masks of several classes, the value of each by its name, background first; lesion is all but the
            background then, and ``mask_threshold`` has no meaning.

    Returns:
        The record: by list its number of cases, groups, empty masks, median lesion share and SHA-256.

    Raises:
        DatasetError: listing all cases that lack a file or cannot be read; or if no mask reaches ``mask_threshold``.
        FileExistsError: if a list exists, unless ``overwrite``.
        ValueError: if an argument is out of range or there are fewer groups than lists.
    """
    root = Path(dataset_dir)
    missing = [f"{root / name} is missing" for name in ("images", "masks") if not (root / name).is_dir()]
    if missing:
        raise DatasetError(f"{'; '.join(missing)}: a data set is a folder with images/ and masks/")
    parts = _parts(shares, folds)
    targets = _targets(root, parts, folds)
    earlier = [*targets.values(), *_further_folds(root, folds), root / _RECORD]
    if existing := [path for path in earlier if path.exists() and not overwrite]:
        raise FileExistsError(f"{existing[0]} exists; keep it, or give --overwrite to draw the lists anew")
    pairing = pair_all(root, mask_suffix)
    raise_if_any(root, pairing.problems)
    cases = pairing.cases["images"]
    names = [case_name(case) for case in cases]
    lines = [name + Path(case["image"]).suffix for name, case in zip(names, cases, strict=True)]
    _refuse_unlistable(lines)
    areas, digests = _measure(cases, mask_threshold, None if classes is None else list(classes.values()))
    groups = _merged(read_groups(group, names), digests)
    drawn = _draw(groups, _strata(areas), list(parts.values()), seed)
    chosen = {name: [i for i, part in enumerate(drawn) if part == k] for k, name in enumerate(parts)}
    lists = dict(chosen)
    if folds is not None:
        fold_names = [name for name in parts if name != "test"]
        lists = {f"{name}/val": chosen[name] for name in fold_names}
        lists |= {f"{name}/train": sorted(i for n in fold_names if n != name for i in chosen[n]) for name in fold_names}
        lists |= {"test": chosen["test"]} if "test" in chosen else {}
    record = {
        "seed": seed,
        "shares": None if folds is not None and not shares else parts,
        "folds": folds,
        "group": None if group is None else str(group),
        "mask_threshold": None if classes else mask_threshold,
        "classes": None if classes is None else dict(classes),
        "condseg_monai": __version__,
        "lists": {name: _facts([*map(cases.__getitem__, rows)], rows, areas, groups) for name, rows in lists.items()},
    }
    for name, rows in lists.items():
        with atomic_write(targets[name]) as temporary:
            temporary.write_text("".join(f"{lines[i]}\n" for i in rows), encoding="utf-8")
    for path in _further_folds(root, folds):
        path.unlink()
    write_json(root / _RECORD, record)
    return record


def read_groups(group: str | os.PathLike[str] | None, stems: Sequence[str]) -> list[str]:
    """Say which group each case is of.

    Args:
        group: a CSV file with a line ``name,group`` per case, a header or none, whose names are as in a list; or a
            regular expression that is found in each name, whose first parenthesis, or else the whole match, is the
            group; None: each by itself.
        stems: names of the cases, with the sub-folder in front if they are in one.

    Raises:
        ValueError: naming the cases without a group or with two, or if the expression is none.
    """
    if group is None:
        return list(stems)
    if str(group).lower().endswith(".csv"):
        with Path(group).open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if row]
        if wrong := [row for row in rows if len(row) != 2]:
            raise ValueError(f"group: {group} must have two columns, name and group, got {','.join(wrong[0])}")
        by_name = _groups_by_name([(name.strip(), value.strip()) for name, value in rows], stems)
        found: list[str | None] = [by_name.get(name_key(stem)) for stem in stems]
    else:
        try:
            pattern = re.compile(str(group))
        except re.error as error:
            raise ValueError(f"group {group!r} is neither a .csv file nor a regular expression: {error}") from error
        matches = [pattern.search(stem) for stem in stems]
        found = [None if match is None else match.group(1 if pattern.groups else 0) for match in matches]
    lost = [stem for stem, value in zip(stems, found, strict=True) if not value]
    if lost:
        raise ValueError(f"group {str(group)!r} gives no group for {len(lost)} case(s): {', '.join(lost[:5])}")
    return [str(value) for value in found]


def _groups_by_name(rows: Sequence[tuple[str, str]], stems: Sequence[str]) -> dict[str, str]:
    """Group of each case that ``rows`` name: as in a list or, of files elsewhere, by the stem alone."""
    cases: dict[str, list[Path]] = {name_key(stem): [] for stem in stems}
    by_name: dict[str, str] = {}
    for name, value in rows:
        stem = stem_of_line(name, cases)
        stem = stem if stem in cases else name_key(Path(name).stem)
        if by_name.setdefault(stem, value) != value and stem in cases:
            raise ValueError(f"group: {stem} is in two groups, {by_name[stem]} and {value}; correct the file")
    return by_name


def _refuse_unlistable(lines: Sequence[str]) -> None:
    """Refuse names that are not read back from a list as they are written."""
    if wrong := [line for line in lines if any("\udc80" <= letter <= "\udcff" for letter in line)]:
        raise DatasetError(f"{len(wrong)} name(s) are not UTF-8, as a list is: rename {', '.join(wrong[:5])}")
    if wrong := [line for line in lines if f"{line}\n".splitlines() != [line.strip()] or "\\" in line]:
        raise DatasetError(
            f"{len(wrong)} name(s) have a line break, a backslash or a blank at an end, as none on a list can: rename "
            + ", ".join(map(repr, wrong[:5]))
        )


def _parts(shares: Mapping[str, float] | None, folds: int | None) -> dict[str, float]:
    """Shares by list, or by number of fold and ``test``."""
    given = {"train": 0.8, "val": 0.1, "test": 0.1} if shares is None and folds is None else dict(shares or {})
    if not all(0 <= share < 1 for share in given.values()):
        raise ValueError(f"shares must be in [0, 1), got {given}")
    given = {name: share for name, share in given.items() if share > 0}
    if folds is None:
        if not {"train", "val"} <= given.keys() or not math.isclose(sum(given.values()), 1, abs_tol=1e-6):
            raise ValueError(f"shares must be of train, val and, if wanted, test, and sum to 1, got {given}")
        return given
    if folds < 2 or given.keys() - {"test"}:
        raise ValueError(f"folds must be at least 2, beside a share of test at most, got {folds} and {given}")
    rest = 1 - given.get("test", 0)
    return {**{str(k): rest / folds for k in range(folds)}, **given}


def _targets(root: Path, parts: Mapping[str, float], folds: int | None) -> dict[str, Path]:
    if folds is None:
        return {name: root / f"{name}.txt" for name in parts}
    targets = {f"{k}/{name}": fold_dir(root, k) / f"{name}.txt" for k in range(folds) for name in ("train", "val")}
    return targets | ({"test": root / "test.txt"} if "test" in parts else {})


def _further_folds(root: Path, folds: int | None) -> list[Path]:
    """Lists of an earlier draw of more folds."""
    if folds is None:
        return []
    found = sorted((root / "folds").glob("*/*.txt"))
    return [path for path in found if path.parent.name.isdigit() and int(path.parent.name) >= folds]


def _measure(
    cases: Sequence[Case], mask_threshold: float, class_values: Sequence[Any] | None
) -> tuple[np.ndarray, list[str]]:
    """Share of lesion of each case, and a digest of its image's pixels."""
    areas, digests, problems, largest = np.zeros(len(cases)), [], [], 0.0
    for i, case in enumerate(cases):
        try:
            if class_values is None:
                mask = read_natural_image(case["label"], "L")
                areas[i], largest = binarize(mask, mask_threshold).mean(), max(largest, float(mask.max()))
            else:
                areas[i] = (read_mask(case["label"], class_values=class_values) > 0).mean()
            image = read_natural_image(case["image"])
            digests.append(hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest())
        except ValueError as error:
            problems.append(str(error))
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise DatasetError(f"{len(problems)} case(s) cannot be read; fix or remove them:\n{lines}")
    if 0 < largest <= mask_threshold:
        raise DatasetError(no_mask_text("no mask", mask_threshold, largest))
    return areas, digests


def _merged(groups: Sequence[str], digests: Sequence[str]) -> list[int]:
    """Numbers of groups, those that share a picture being one."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for group, digest in zip(groups, digests, strict=True):
        parent[root(f"picture {digest}")] = root(f"group {group}")
    roots = [root(f"group {group}") for group in groups]
    numbers = {key: i for i, key in enumerate(dict.fromkeys(roots))}
    return [numbers[key] for key in roots]


def _strata(areas: np.ndarray) -> np.ndarray:
    """0 for empty masks, else 1 to 4 by quarters of lesion size."""
    with_lesion = areas > 0
    edges = np.quantile(areas[with_lesion], np.arange(1, _SIZES) / _SIZES) if with_lesion.any() else []
    return np.where(with_lesion, 1 + np.searchsorted(edges, areas, side="right"), 0)


def _draw(groups: Sequence[int], strata: np.ndarray, shares: Sequence[float], seed: int) -> list[int]:
    """The part of each case: groups, the largest first, each go where their strata are most wanted."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    if len(members) < len(shares):
        raise ValueError(f"there are {len(members)} groups for {len(shares)} lists: use fewer lists or other groups")
    drawn_order = np.random.default_rng(seed).permutation(list(members)).tolist()
    order = sorted(drawn_order, key=lambda group: -len(members[group]))  # equal ones stay in the drawn order
    total = np.bincount(strata, minlength=_SIZES + 1)
    wanted = np.outer(shares, total)  # (parts, strata)
    left = wanted.copy()
    drawn = [0] * len(groups)
    empty = set(range(len(shares)))
    for number, group in enumerate(order):
        counts = np.bincount(strata[members[group]], minlength=_SIZES + 1)
        # the growth of the squared distance to what is wanted, each part by its size
        cost = ((left - counts) ** 2 - left**2).sum(axis=1) / np.asarray(shares)
        choices = sorted(empty) if len(empty) == len(order) - number else range(len(shares))
        part = min(choices, key=lambda k: (cost[k], -left[k].sum()))
        left[part] -= counts
        empty.discard(part)
        for i in members[group]:
            drawn[i] = part
    return drawn


def _facts(cases: Sequence[Case], rows: Sequence[int], areas: np.ndarray, groups: Sequence[int]) -> dict[str, Any]:
    lesion = areas[list(rows)]
    return {
        "cases": len(rows),
        "groups": len({groups[i] for i in rows}),
        "empty_masks": int((lesion == 0).sum()),
        "median_lesion_share": round(float(np.median(lesion[lesion > 0])), 4) if (lesion > 0).any() else None,
        "sha256": datalist_hash(cases),
    }

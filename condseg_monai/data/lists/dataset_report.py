"""Report of everything that is wrong with a dataset, or worth knowing before it is trained on."""

from __future__ import annotations

import hashlib
import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from condseg_monai.data.images.image_reader import UnreadableImageError, read_natural_image, read_pixels
from condseg_monai.data.images.mask_reader import DEFAULT_THRESHOLD, binarize, stores_numbers
from condseg_monai.data.images.mask_values import class_indices, refuse_classes
from condseg_monai.data.lists.pairing import (
    SPLITS,
    Case,
    Finding,
    Pairing,
    different_sizes,
    find_cases,
    find_unlisted,
    pair_all,
    some,
)
from condseg_monai.utils.files import read_json_object

__all__ = ["inspect_dataset"]

_VALUES = "mask values"
_INVERTED = 0.8  # share of the foreground in a mask
_NOISE = 10  # JPEG masks have values up to 7, and from 248: twice what has been seen would reach into object numbers
_NEAR_WHITE = 255 - _NOISE
_OF_A_TRAINING = {*SPLITS, "labeled", "unlabeled"}  # lists, of which others are only scored


class SplitSummary(NamedTuple):
    """One split in numbers, of the cases whose image and mask could both be read; sizes are (W, H)."""

    cases: int
    empty_masks: int
    foreground: float  # share of foreground in all pixels; the next three are shares in one image
    foreground_min: float
    foreground_median: float
    foreground_max: float
    neither: float  # share of mask pixels that are neither 0 or 1 nor near 0 or 255
    smallest: tuple[int, int]
    largest: tuple[int, int]
    classes: dict[str, ClassSummary]


class ClassSummary(NamedTuple):
    """One class in a split: how many masks have it, and its share of all pixels."""

    masks: int
    share: float


class DatasetReport(NamedTuple):
    """Result of :func:`inspect_dataset`; training would stop at ``errors``.

    ``cases`` has for each split those with both files, ``"images"`` standing for all of a dataset without lists. Masks
    of several classes have ``classes``, the value of each by name, and no ``mask_threshold``.
    """

    dataset_dir: str
    mask_threshold: float | None
    classes: dict[str, Any]
    cases: dict[str, list[Case]]
    errors: list[Finding]
    warnings: list[Finding]
    summaries: dict[str, SplitSummary]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON has it, without the list of cases."""
        findings = {"errors": self.errors, "warnings": self.warnings}
        return {
            "dataset_dir": self.dataset_dir,
            "mask_threshold": self.mask_threshold,
            "classes": self.classes,
            "ok": not self.errors,
            "splits": {
                name: {
                    **summary._asdict(),
                    "classes": {key: value._asdict() for key, value in summary.classes.items()},
                }
                for name, summary in self.summaries.items()
            },
            **{level: [finding._asdict() for finding in found] for level, found in findings.items()},
        }


class _Mask(NamedTuple):
    """Pixels of one mask."""

    pixels: int
    foreground: int
    neither: int  # not 0 or 1 nor, in a mask that reaches white, within 10 of 0 or 255
    noise: int  # foreground within 10 of black, in a mask that reaches white
    largest: float
    coloured: bool
    digest: str  # of the foreground, or of all classes
    classes: tuple[int, ...] = ()  # pixels of each


class _Checked(NamedTuple):
    problems: list[Finding]
    digest: str = ""
    size: tuple[int, int] = (0, 0)
    mask: _Mask | None = None


_Results = Mapping[str, _Checked]


def inspect_dataset(
    dataset_dir: str | PathLike[str],
    splits: Sequence[str] | None = None,
    mask_threshold: float | None = None,
    classes: Mapping[str, Any] | None = None,
    mask_suffix: str = "",
    fold: int | None = None,
) -> DatasetReport:
    """Pair, open and compare the files of a data set; what is wrong is in the result and raises nothing.

    Errors are: a missing folder or list, an empty list, a line twice or in two lists, a line without an image or mask,
    a stem with two files, a file that cannot be decoded, an image and mask of different sizes after EXIF rotation, a
    picture in two splits, masks of which none reaches the threshold, and masks with values of no class.

    Warnings are: files on no list, masks without an image, files that are no images, a picture twice in a split, empty
    masks, masks with no value above the threshold, with colours, or with many values that are neither black nor white,
    and classes that no mask of a split has.

    Args:
        dataset_dir: has ``images/``, ``masks/`` and lists.
        splits: names of lists; None checks those there are of ``train``, ``val``, ``test`` and what ``dataset.json`` of
            ``condseg prepare`` names or, if there is none, all of ``images/``.
        mask_threshold: in [0, 255): mask values above it are foreground; None is 127 and takes only masks of two values
            (:func:`~condseg_monai.data.images.mask_reader.read_mask`).
        classes: of masks of several classes, the value of each by its name, background first.
        mask_suffix: what masks have behind the stem of their image, such as ``_mask``.
        fold: check the lists of this fold, see :func:`~condseg_monai.data.lists.splitting.split_dataset`.
    """
    root = Path(dataset_dir)
    lists = splits
    if lists is None:
        lists = ["train", "val"] if fold is not None else _lists_of(root)
    pairing = find_cases(root, lists, fold, mask_suffix)
    warnings: list[Finding] = []
    if (root / "images").is_dir() and (root / "masks").is_dir():
        if not lists:
            pairing = pair_all(root, mask_suffix)
            text = "there is no train.txt, val.txt or test.txt; all of images/ was checked"
            text += f" (condseg split {root} makes lists)"
            pairing = pairing._replace(problems=[Finding("list", text), *pairing.problems])
        warnings = find_unlisted(root, pairing.listed, mask_suffix)
    return inspect_pairing(root, pairing, mask_threshold, classes, warnings)


def _lists_of(root: Path) -> list[str]:
    """Lists there are: of the usual names, and those that ``condseg prepare`` made, such as one for each test set."""
    made: Any = None
    with suppress(OSError, ValueError):  # none, or another program's
        made = read_json_object(root / "dataset.json").get("splits")
    names = dict.fromkeys((*SPLITS, *(made if isinstance(made, dict) else ())))
    return [name for name in names if Path(name).name == name and (root / f"{name}.txt").is_file()]


def inspect_pairing(
    root: Path,
    pairing: Pairing,
    mask_threshold: float | None = None,
    classes: Mapping[str, Any] | None = None,
    warnings: Sequence[Finding] = (),
) -> DatasetReport:
    """Open and compare the files of cases that are paired already; a case without a label is opened alone."""
    cases, warnings = pairing.cases, list(warnings)
    unique = list({case["image"]: case for split in cases.values() for case in split}.values())
    class_values = None if classes is None else list(classes.values())
    with ThreadPoolExecutor(max_workers=(os.cpu_count() or 1) + 2) as pool:
        checked = list(pool.map(partial(_check, mask_threshold, class_values), unique))
    results = {case["image"]: result for case, result in zip(unique, checked, strict=True)}
    errors = [*pairing.problems, *_grouped(problem for result in checked for problem in result.problems)]
    summaries = {split: summary for split in cases if (summary := _summary(cases[split], results, classes)) is not None}
    if classes is None:
        found = _mask_findings(results, DEFAULT_THRESHOLD if mask_threshold is None else mask_threshold)
    else:
        found = _class_findings(results, summaries)
    for level, finding in (*_same_pictures(cases, results), *found):
        (errors if level == "error" else warnings).append(finding)
    threshold = None if classes else DEFAULT_THRESHOLD if mask_threshold is None else mask_threshold
    return DatasetReport(os.fspath(root), threshold, dict(classes or {}), cases, errors, warnings, summaries)


def _check(mask_threshold: float | None, class_values: Sequence[Any] | None, case: Case) -> _Checked:
    arrays: dict[str, np.ndarray] = {}
    problems: list[Finding] = []
    for key in ("image", "label") if "label" in case else ("image",):
        try:
            read_numbers = key == "label" and stores_numbers(class_values)
            arrays[key] = read_pixels(case[key], numbers=True) if read_numbers else read_natural_image(case[key])
        except UnreadableImageError as error:
            problems.append(Finding("unreadable", str(error), (case[key],)))
    if problems:
        return _Checked(problems)
    image, label = arrays["image"], arrays.get("label")
    digest = hashlib.sha256(f"{image.shape}{image.dtype}".encode() + image.tobytes()).hexdigest()
    size = (image.shape[1], image.shape[0])
    if label is None:
        return _Checked([], digest, size)
    if image.shape[:2] != label.shape[:2]:
        text = different_sizes(case["image"], image.shape, case["label"], label.shape)
        return _Checked([Finding("size", text, (case["image"], case["label"]))])
    try:
        if class_values is not None:
            mask = _classes(class_indices(label, class_values), len(class_values))
        else:
            mask = _mask(label, mask_threshold)
    except ValueError as error:
        return _Checked([Finding(_VALUES, str(error), (case["label"],))], digest, size)
    return _Checked([], digest, size, mask)


def _grouped(problems: Iterable[Finding]) -> Iterator[Finding]:
    """Findings about the values of masks, those of one text as one."""
    files: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        if problem.kind == _VALUES:
            files[problem.text].extend(problem.files)
        else:
            yield problem
    yield from (Finding(_VALUES, f"{some(paths)}: {text}", tuple(paths)) for text, paths in files.items())


def _classes(indices: np.ndarray, count: int) -> _Mask:
    pixels = np.bincount(indices.ravel(), minlength=count).tolist()
    digest = hashlib.sha256(f"{indices.shape}".encode() + indices.tobytes()).hexdigest()
    foreground = indices.size - pixels[0]
    return _Mask(indices.size, foreground, 0, 0, float(foreground > 0), False, digest, tuple(pixels))


def _mask(colours: np.ndarray, threshold: float | None) -> _Mask:
    coloured = bool((colours[..., 0] != colours[..., 1]).any() or (colours[..., 1] != colours[..., 2]).any())
    values = colours.max(axis=2)
    if threshold is None:
        refuse_classes(colours if coloured else values)
    foreground = binarize(values, threshold)
    largest = float(values.max())
    if largest >= _NEAR_WHITE:
        neither = int(((values > _NOISE) & (values < _NEAR_WHITE)).sum())
        noise = int((foreground & (values <= _NOISE)).sum())
    else:
        neither, noise = int((values > 1).sum()), 0
    digest = hashlib.sha256(f"{foreground.shape}".encode() + np.packbits(foreground).tobytes()).hexdigest()
    return _Mask(values.size, int(foreground.sum()), neither, noise, largest, coloured, digest)


def _same_pictures(cases: Mapping[str, Sequence[Case]], results: _Results) -> Iterator[tuple[str, Finding]]:
    """Files with the same pixels: an error if they are in different splits, a warning within one or of test sets."""
    by_digest: dict[str, dict[str, str]] = defaultdict(dict)
    for split, listed in cases.items():
        for case in listed:
            if results[case["image"]].digest:
                by_digest[results[case["image"]].digest].setdefault(case["image"], split)
    for places in by_digest.values():
        if len(places) < 2:
            continue
        masks = {mask.digest for mask in (results[path].mask for path in places) if mask is not None}
        firsts = {split: path for path, split in reversed(places.items())}  # one of each split is named in any case
        ordered = sorted(places, key=lambda path: path not in firsts.values())
        names = [f"{Path(path).name} ({places[path]})" for path in ordered]
        text = " and ".join(names if len(names) < 6 else [*names[:4], f"{len(names) - 4} more"])
        text += " are the same picture" + (" with different masks" if len(masks) > 1 else "")
        if len(lists := set(places.values())) > 1 and lists & _OF_A_TRAINING:
            yield "error", Finding("overlap", f"{text}; remove it from one of the lists", tuple(places))
        else:
            yield "warning", Finding("duplicate", text, tuple(places))


def _mask_findings(results: _Results, threshold: float) -> Iterator[tuple[str, Finding]]:
    masks = {path: result.mask for path, result in results.items() if result.mask is not None}
    largest = max((mask.largest for mask in masks.values()), default=0.0)
    if 0 < largest <= threshold:
        yield "error", Finding(_VALUES, no_mask_text("no mask", threshold, largest))
        return
    above = f"--mask_threshold {threshold:g}"
    checks: list[tuple[str, str, Callable[[_Mask], bool]]] = [
        ("empty mask", "have an empty mask", lambda mask: mask.largest == 0),
        (
            "empty mask",
            f"have a mask without a value above {above}, but not all 0",
            lambda mask: 0 < mask.largest <= threshold,
        ),
        ("full mask", "have a mask that is foreground everywhere", lambda mask: mask.foreground == mask.pixels),
        (_VALUES, f"have a mask whose JPEG noise is above {above}; 127 suits them", lambda mask: mask.noise > 0),
        (
            _VALUES,
            "have a mask of which more than 5 % is neither 0 or 1 nor near 0 or 255: soft edges, or instance numbers "
            "or classes, which want --mask_threshold 0",
            lambda mask: mask.neither > 0.05 * mask.pixels,
        ),
        (_VALUES, "have a mask with colours; any bright colour counts as foreground", lambda mask: mask.coloured),
    ]
    yield from _warnings(masks, checks)
    shares = [mask.foreground / mask.pixels for mask in masks.values()]
    if shares and statistics.median(shares) > _INVERTED:
        text = f"half of the masks are more than {_INVERTED:.0%} foreground, which is what is above {above}: inverted?"
        yield "warning", Finding(_VALUES, text)


def _class_findings(results: _Results, summaries: Mapping[str, SplitSummary]) -> Iterator[tuple[str, Finding]]:
    masks = {path: result.mask for path, result in results.items() if result.mask is not None}
    yield from _warnings(masks, [("empty mask", "have a mask of background alone", lambda mask: mask.foreground == 0)])
    for split, summary in summaries.items():
        if absent := [name for name, numbers in summary.classes.items() if numbers.masks == 0]:
            yield "warning", Finding("class", f"no mask of {split} has the class {' or '.join(absent)}")


def _warnings(
    masks: Mapping[str, _Mask], checks: Sequence[tuple[str, str, Callable[[_Mask], bool]]]
) -> Iterator[tuple[str, Finding]]:
    for kind, text, condition in checks:
        if files := tuple(path for path, mask in masks.items() if condition(mask)):
            yield "warning", Finding(kind, f"{len(files)} case(s) {text}: {some(files)}", files)


def no_mask_text(what: str, threshold: float, largest: float) -> str:
    """Say that no mask reaches the threshold."""
    return (
        f"{what} has a value above --mask_threshold {threshold:g}, the largest is {largest:g}; give "
        "--mask_threshold 0 for masks of 0 and 1 or of instance numbers, or --class_names for several classes"
    )


def _summary(cases: Sequence[Case], results: _Results, classes: Mapping[str, Any] | None = None) -> SplitSummary | None:
    checked = [results[case["image"]] for case in cases]
    masks = [result.mask for result in checked if result.mask is not None]
    if not masks:
        return None
    sizes = sorted((result.size for result in checked if result.mask is not None), key=lambda size: size[0] * size[1])
    shares = [mask.foreground / mask.pixels for mask in masks]
    pixels = sum(mask.pixels for mask in masks)
    return SplitSummary(
        cases=len(masks),
        empty_masks=sum(mask.foreground == 0 for mask in masks),
        foreground=sum(mask.foreground for mask in masks) / pixels,
        foreground_min=min(shares),
        foreground_median=statistics.median(shares),
        foreground_max=max(shares),
        neither=sum(mask.neither for mask in masks) / pixels,
        smallest=sizes[0],
        largest=sizes[-1],
        classes={
            name: ClassSummary(
                sum(mask.classes[index] > 0 for mask in masks), sum(mask.classes[index] for mask in masks) / pixels
            )
            for index, name in enumerate(classes or ())
        },
    )

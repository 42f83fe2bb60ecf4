"""Prepare a downloaded image dataset: copy it into the folder that training reads, with the published lists."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from condseg_monai.data.images.image_reader import UnreadableImageError, read_natural_image
from condseg_monai.data.lists.pairing import DatasetError
from condseg_monai.data.lists.published_splits import PUBLISHED_LISTS, published_list, seeded_order
from condseg_monai.data.prepare.download_layouts import (
    LAYOUTS,
    DownloadedFiles,
    Layout,
    binary_instance_mask,
    find_downloaded,
)
from condseg_monai.data.prepare.new_folder import (
    Split,
    built_beside,
    check_folders,
    is_of_one_case,
    move_out,
    write_dataset,
)

__all__ = ["prepare_dataset"]

_SESSILE_CASES, _SESSILE_HELD_OUT = 196, 20
_ISIC2017_TEST_CASES = 600
_LGG_SLICES, _LGG_HELD_OUT = 3929, 0.1
_MOST_NAMED = 20
_NO_VALIDATION = (
    "no validation list is published: train with --split test to select the model on the test images, as papers do, or "
    "prepare with --hold_out val=N to take N training cases for it"
)
_NOTES = {  # by data set, what to know if it has no such list
    "kvasir-seg": ("test", "no test list is published: papers select the model on val.txt and report on it too"),
    "glas": ("val", _NO_VALIDATION),
    "isic2016": ("val", _NO_VALIDATION),
    "pranet": ("val", _NO_VALIDATION.replace("--split test", "--split kvasir, say,")),
}


def prepare_dataset(
    dataset: str,
    source: Path,
    destination: Path,
    *,
    link: bool = False,
    overwrite: bool = False,
    allow_missing: bool = False,
    allow_empty: bool = False,
    hold_out: Mapping[str, int] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Copy a downloaded dataset into ``images/``, ``masks/`` and its lists; the source is only read.

    The lists are the published ones. Kvasir-Sessile has none and is split 156/20/20 by :func:`seeded_order`; the test
    cases of ISIC-2017 are the 600 images on neither published list. The folders of ISIC-2018 and of PraNet's polyps are
    their lists, and files stay in sub-folders of these names. The LGG slices are split by patient; those without a
    lesion are left off the lists unless ``allow_empty``. GlaS masks have a number per gland and become 0 and 255; all
    other files are copied byte by byte or, with ``link``, linked. The folder appears in its place when it is complete.

    ``dataset`` is a key of ``LAYOUTS``; files of ``source`` are found at any depth. ``allow_missing`` leaves cases
    without image or mask off the lists; ``hold_out`` maps splits without a published list to numbers of training cases,
    drawn by ``seed``. Returns the content of ``dataset.json``.

    Raises:
        DatasetError: listing missing files, or if there are more than the dataset has.
        FileExistsError: if ``destination`` is not empty and was not made by this function or ``overwrite`` is False.
        ValueError: if an argument makes no sense.
    """
    if dataset not in LAYOUTS:
        raise ValueError(f"dataset must be one of {', '.join(LAYOUTS)}, got {dataset!r}")
    check_folders(source, destination, overwrite)
    found = find_downloaded(source, LAYOUTS[dataset])
    both = found.images.keys() & found.masks.keys()
    splits = _splits(dataset, found, allow_missing, seed)
    missing = {split: [name for name in listed.names if name not in both] for split, listed in splits.items()}
    if any(missing.values()) and not allow_missing:
        raise DatasetError(_missing_text(source, splits, missing, found))
    empty = _empty_masks(found.masks) & both if LAYOUTS[dataset].patients and not allow_empty else set()
    kept = both - empty
    for split, listed in splits.items():
        splits[split] = listed._replace(names=[name for name in listed.names if name in kept])
    for split, count in (hold_out or {}).items():
        move_out(splits, split, count, seed)
    if without := [f"{split}.txt" for split, listed in splits.items() if not listed.names]:
        raise DatasetError(f"{source} has no case of {', '.join(without)}")
    with built_beside(destination) as folder:
        names = {name for listed in splits.values() for name in listed.names}
        _copy(folder, LAYOUTS[dataset].instances, names, found, link)
        facts = {"title": LAYOUTS[dataset].title, "files": "linked" if link else "copied"}
        notes = list(_notes(dataset, splits, found, len(empty)))
        return write_dataset(folder, source, splits, missing, notes, {}, dataset=dataset, **facts)


def _splits(dataset: str, found: DownloadedFiles, allow_missing: bool, seed: int) -> dict[str, Split]:
    names = found.images.keys() | found.masks.keys()
    if dataset == "kvasir-sessile":
        _check_count("Kvasir-Sessile", "in images/ or masks/", names, _SESSILE_CASES, allow_missing)
        order = seeded_order(names, seed)
        held = round(len(order) * _SESSILE_HELD_OUT / _SESSILE_CASES)
        rule = f"{len(order)} of {_SESSILE_CASES} names in the order of the SHA-256 of '{seed} NAME', "
        rule += f"{held} for test, then {held} for val"
        parts = {"train": order[2 * held :], "val": order[held : 2 * held], "test": order[:held]}
        return {split: Split(sorted(part), "ours", rule) for split, part in parts.items()}
    if LAYOUTS[dataset].patients:
        _check_count("LGG", "with or without _mask", names, _LGG_SLICES, allow_missing)
        return _splits_by_patient(names, seed)
    if LAYOUTS[dataset].lists:
        return _splits_by_folder(LAYOUTS[dataset], names, allow_missing)
    splits = {
        split: Split(published_list(dataset, split), "published", known.source)
        for split, known in PUBLISHED_LISTS[dataset].items()
    }
    rest = sorted(names - {name for split in splits.values() for name in split.names})
    if dataset == "isic2017" and rest:
        _check_count("ISIC-2017 test", "that are on neither published list", rest, _ISIC2017_TEST_CASES, allow_missing)
        rule = f"the {len(rest)} of {_ISIC2017_TEST_CASES} images that are on neither published list"
        splits["test"] = Split(rest, "ours", rule)
    return splits


def _splits_by_patient(names: Collection[str], seed: int) -> dict[str, Split]:
    order = seeded_order({name.rpartition("_")[0] for name in names}, seed)
    held = max(1, round(len(order) * _LGG_HELD_OUT))
    rule = f"{{}} of {len(order)} patients in the order of the SHA-256 of '{seed} PATIENT', "
    rule += f"{held} for test, then {held} for val"
    parts = {"train": order[2 * held :], "val": order[held : 2 * held], "test": order[:held]}
    return {
        split: Split(sorted(name for name in names if name.rpartition("_")[0] in part), "ours", rule.format(len(part)))
        for split, part in parts.items()
    }


def _splits_by_folder(layout: Layout, names: Collection[str], allow_missing: bool) -> dict[str, Split]:
    splits = {}
    for folder, known in layout.lists.items():
        if listed := sorted(name for name in names if name.startswith(f"{known.name}/")):
            _check_count(f"{layout.title}, {folder},", "there", listed, known.cases, allow_missing)
            rule = f"{len(listed)} of {known.cases} cases in the folders {folder}"
            splits[known.name] = Split(listed, "published", rule)
    return splits


def _empty_masks(masks: Mapping[str, Path]) -> set[str]:
    empty, problems = set(), []
    for name, path in masks.items():
        try:
            if not read_natural_image(path, mode="L").any():
                empty.add(name)
        except UnreadableImageError as error:
            problems.append(str(error))
    _raise_if_unusable(problems)
    return empty


def _check_count(title: str, where: str, names: Collection[str], count: int, allow_missing: bool) -> None:
    text = f"{title} has {count} cases, but there are {len(names)} {where}"
    if len(names) > count:
        raise DatasetError(f"{text}; give a folder with the archives of this data set alone")
    if len(names) < count and not allow_missing:
        raise DatasetError(f"{text}; get the others, or use --allow_missing to do without")


def _missing_text(
    source: Path, splits: Mapping[str, Split], missing: Mapping[str, Sequence[str]], found: DownloadedFiles
) -> str:
    lines = []
    for split, names in missing.items():
        lines += [f"  - {split}.txt lacks {len(names)} of {len(splits[split].names)} cases:"] if names else []
        for name in names[:_MOST_NAMED]:
            lacking = [kind for kind, files in (("image", found.images), ("mask", found.masks)) if name not in files]
            lines.append(f"      {name}: no {' and no '.join(lacking)}")
        lines += [f"      and {len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return "\n".join([f"{source} is not complete; get the files, or use --allow_missing to do without:", *lines])


def _notes(dataset: str, splits: Mapping[str, Split], found: DownloadedFiles, empty: int) -> Iterator[str]:
    if dataset in _NOTES and _NOTES[dataset][0] not in splits:
        yield _NOTES[dataset][1]
    expected = ["test"] if dataset == "isic2017" else [known.name for known in LAYOUTS[dataset].lists.values()]
    yield from (f"no {split} images were found; there is no {split}.txt" for split in expected if split not in splits)
    if empty:
        yield f"{empty} slices without a lesion are on no list; --allow_empty puts them there"
    if LAYOUTS[dataset].instances:
        yield "masks were made of the instance numbers of the source: 255 where they are above 0"
    used = {name for listed in splits.values() for name in listed.names}
    extra = sum(name not in used for name in found.images) - empty
    if found.left_out or extra:
        superpixels = sum(path.stem.endswith("_superpixels") for path in found.left_out)
        others = len(found.left_out) - superpixels
        yield f"left out: {extra} images on no list, {superpixels} *_superpixels files, {others} others"
    for other, lists in PUBLISHED_LISTS.items():  # images that a model may have been trained on elsewhere
        for other_split in lists if other != dataset else ():
            names = set(published_list(other, other_split))
            for split, listed in splits.items():
                if shared := names.intersection(Path(name).name for name in listed.names):
                    title = LAYOUTS[other].title
                    yield f"{len(shared)} cases of {split}.txt are in the published {other_split} list of {title} too"


def _copy(folder: Path, instances: bool, names: Collection[str], found: DownloadedFiles, link: bool) -> None:
    problems = []
    for kind, files in (("images", found.images), ("masks", found.masks)):
        for name in names:
            target = folder / kind / f"{name}{files[name].suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                if instances and kind == "masks":
                    Image.fromarray(binary_instance_mask(files[name])).save(target.with_name(f"{name}.png"))
                elif link:
                    target.symlink_to(files[name].resolve())
                else:
                    shutil.copyfile(files[name], target)
            except Exception as error:
                if not is_of_one_case(error):
                    raise
                problems.append(f"{files[name]}: {error}")
    _raise_if_unusable(problems)


def _raise_if_unusable(problems: Collection[str]) -> None:
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in sorted(problems))
        raise DatasetError(f"{len(problems)} file(s) cannot be prepared, nothing was written:\n{lines}")

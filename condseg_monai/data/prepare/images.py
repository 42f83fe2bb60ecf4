"""``python -m condseg_monai prepare``: from a downloaded data set to the folder that training reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from condseg_monai.data.lists.pairing import SPLITS, DatasetError
from condseg_monai.data.lists.published_splits import PUBLISHED_LISTS, list_sha256, published_list, seeded_order
from condseg_monai.data.prepare.download_layouts import (
    LAYOUTS,
    DownloadedFiles,
    binary_instance_mask,
    find_downloaded,
)
from condseg_monai.data.prepare.new_folder import RECORD, built_beside, check_folders
from condseg_monai.version import __version__

__all__ = ["prepare_dataset"]

_SYNAPSE = "synapse"
_SESSILE_CASES, _SESSILE_HELD_OUT = 196, 20
_ISIC2017_TEST_CASES = 600
_NO_VALIDATION = (
    "no validation list is published: train with --split test to select the model on the test images, as papers do, or "
    "prepare with --hold_out val=N to take N training cases for it"
)
_NOTES = {
    "kvasir-seg": "no test list is published: papers select the model on val.txt and report on it too",
    "glas": _NO_VALIDATION,
    "isic2016": _NO_VALIDATION,
}


class _Split(NamedTuple):
    ids: list[str]
    origin: str
    source: str


def prepare_dataset(
    dataset: str,
    source: Path,
    destination: Path,
    *,
    link: bool = False,
    overwrite: bool = False,
    allow_missing: bool = False,
    hold_out: Mapping[str, int] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Copy a downloaded data set into ``images/``, ``masks/`` and its lists; the source is only read.

    The lists are the published ones. Two sets have none: Kvasir-Sessile is split 156/20/20 by :func:`seeded_order` of
    the names, the first 20 for testing and the next 20 for validation; the test cases of ISIC-2017 are the 600 images
    that are on neither published list. GlaS masks have a number per gland and become 0 and 255; all other files are
    copied byte by byte. The folder is built beside its place and appears there when it is complete; its
    ``dataset.json`` says where everything came from.

    Args:
        dataset: a key of ``LAYOUTS``.
        source: folder with the unpacked archives; files are found at any depth.
        destination: the folder to make.
        link: make symbolic links instead of copies, where nothing has to be converted.
        overwrite: replace ``destination`` if it was made by this function.
        allow_missing: leave cases without image or mask off the lists instead of raising.
        hold_out: split -> number of training cases to move to that list, which must have no published one.
        seed: of Kvasir-Sessile and ``hold_out``.

    Returns:
        The content of ``dataset.json``.

    Raises:
        DatasetError: if files are missing or there are more than the data set has; the message lists them.
        FileExistsError: if ``destination`` is not empty.
        ValueError: if an argument makes no sense.
    """
    if dataset not in LAYOUTS:
        raise ValueError(f"dataset must be one of {', '.join(LAYOUTS)}, got {dataset!r}")
    check_folders(source, destination, overwrite)
    found = find_downloaded(source, LAYOUTS[dataset])
    splits = _splits(dataset, found, allow_missing, seed)
    missing = {split: [name for name in listed.ids if not _has_both(name, found)] for split, listed in splits.items()}
    if any(missing.values()) and not allow_missing:
        raise DatasetError(_missing_text(source, splits, missing, found))
    splits = {
        split: listed._replace(ids=[name for name in listed.ids if _has_both(name, found)])
        for split, listed in splits.items()
    }
    _hold_out(splits, dict(hold_out or {}), seed)
    empty = [split for split, listed in splits.items() if not listed.ids]
    if empty:
        raise DatasetError(f"{source} has no case of {', '.join(f'{split}.txt' for split in empty)}")
    record = _record(dataset, source, splits, missing, found, link)
    with built_beside(destination) as folder:
        _write(folder, dataset, splits, found, link)
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def _has_both(name: str, found: DownloadedFiles) -> bool:
    return name in found.images and name in found.masks


def _splits(dataset: str, found: DownloadedFiles, allow_missing: bool, seed: int) -> dict[str, _Split]:
    if dataset == "kvasir-sessile":
        return _sessile_splits(found, allow_missing, seed)
    splits = {
        split: _Split(published_list(dataset, split), "published", known.source)
        for split, known in PUBLISHED_LISTS[dataset].items()
    }
    if dataset == "isic2017":
        rest = sorted((found.images.keys() | found.masks.keys()) - {n for split in splits.values() for n in split.ids})
        _check_count("ISIC-2017 test", "that are on neither published list", rest, _ISIC2017_TEST_CASES, allow_missing)
        if rest:
            rule = f"the {len(rest)} of {_ISIC2017_TEST_CASES} images that are on neither published list"
            splits["test"] = _Split(rest, "ours", rule)
    return splits


def _sessile_splits(found: DownloadedFiles, allow_missing: bool, seed: int) -> dict[str, _Split]:
    names = found.images.keys() | found.masks.keys()
    _check_count("Kvasir-Sessile", "in images/ or masks/", names, _SESSILE_CASES, allow_missing, may_be_none=False)
    order = seeded_order(names, seed)
    held = round(len(order) * _SESSILE_HELD_OUT / _SESSILE_CASES)
    rule = (
        f"{len(order)} of {_SESSILE_CASES} names in the order of the SHA-256 of '{seed} NAME', "
        f"{held} for test, then {held} for val"
    )
    parts = {"train": order[2 * held :], "val": order[held : 2 * held], "test": order[:held]}
    return {split: _Split(sorted(part), "ours", rule) for split, part in parts.items()}


def _check_count(
    title: str, where: str, names: Sequence[str] | set[str], count: int, allow_missing: bool, may_be_none: bool = True
) -> None:
    if len(names) == count or (may_be_none and not names):
        return
    text = f"{title} has {count} cases, but there are {len(names)} {where}"
    if len(names) > count:
        raise DatasetError(f"{text}; give a folder with the archives of this data set alone")
    if not allow_missing:
        raise DatasetError(f"{text}; get the others, or use --allow_missing to go on without")


def _missing_text(
    source: Path, splits: Mapping[str, _Split], missing: Mapping[str, Sequence[str]], found: DownloadedFiles
) -> str:
    lines = []
    for split, names in missing.items():
        lines += [f"  - {split}.txt lacks {len(names)} of {len(splits[split].ids)} cases:"] if names else []
        for name in names[:20]:
            lacking = [kind for kind, files in (("image", found.images), ("mask", found.masks)) if name not in files]
            lines.append(f"      {name}: no {' and no '.join(lacking)}")
        lines += [f"      and {len(names) - 20} more"] if len(names) > 20 else []
    return "\n".join([f"{source} is not complete; get the files, or use --allow_missing to go on without:", *lines])


def _hold_out(splits: dict[str, _Split], counts: Mapping[str, int], seed: int) -> None:
    """Move training cases to lists of our own, drawn by name and seed."""
    for split, count in counts.items():
        train = splits["train"]
        if split not in SPLITS or split in splits:
            free = [name for name in SPLITS if name not in splits]
            raise ValueError(f"hold_out can make {' or '.join(free) or 'no other list'} here, got {split!r}")
        if not 0 < count < len(train.ids):
            raise ValueError(f"hold_out must leave some of the {len(train.ids)} training cases, got {split}={count}")
        drawn = set(seeded_order(train.ids, seed)[:count])
        rule = f"{count} of the training cases, the first in the order of the SHA-256 of '{seed} NAME'"
        splits[split] = _Split(sorted(drawn), "ours", rule)
        splits["train"] = _Split(
            [name for name in train.ids if name not in drawn], "ours", f"{train.source}; less those of {split}.txt"
        )


def _record(
    dataset: str,
    source: Path,
    splits: Mapping[str, _Split],
    missing: Mapping[str, Sequence[str]],
    found: DownloadedFiles,
    link: bool,
) -> dict[str, Any]:
    notes = [_NOTES[dataset]] if dataset in _NOTES and len(splits) < len(SPLITS) else []
    if dataset == "isic2017" and "test" not in splits:
        notes.append("no test images were found; there is no test.txt")
    if LAYOUTS[dataset].instances:
        notes.append("masks were made of the instance numbers of the source: 255 where they are above 0")
    used = {name for listed in splits.values() for name in listed.ids}
    extra = sum(name not in used for name in found.images)
    if found.left_out or extra:
        superpixels = sum(path.stem.endswith("_superpixels") for path in found.left_out)
        notes.append(
            f"left out: {extra} images on no list, {superpixels} *_superpixels files, "
            f"{len(found.left_out) - superpixels} others"
        )
    notes += _shared_with_others(dataset, splits)
    return {
        "dataset": dataset,
        "title": LAYOUTS[dataset].title,
        "made_by": f"condseg_monai {__version__} prepare",
        "source": str(source.resolve()),
        "files": "linked" if link else "copied",
        "splits": {
            split: {
                "cases": len(listed.ids),
                "origin": listed.origin,
                "source": listed.source,
                "sha256": list_sha256(listed.ids),
                "missing": list(missing.get(split, [])),
            }
            for split, listed in splits.items()
        },
        "notes": notes,
    }


def _shared_with_others(dataset: str, splits: Mapping[str, _Split]) -> Iterator[str]:
    """Images that a model may have been trained on elsewhere."""
    for other, lists in PUBLISHED_LISTS.items():
        for other_split in lists:
            for split, listed in splits.items():
                shared = set(listed.ids).intersection(published_list(other, other_split)) if other != dataset else ()
                if shared:
                    title = LAYOUTS[other].title
                    yield f"{len(shared)} cases of {split}.txt are in the published {other_split} list of {title} too"


def _write(folder: Path, dataset: str, splits: Mapping[str, _Split], found: DownloadedFiles, link: bool) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for split, listed in splits.items():
        text = "".join(f"{name}\n" for name in listed.ids)
        (folder / f"{split}.txt").write_text(text, encoding="utf-8", newline="\n")
        for name in listed.ids:
            image, mask = found.images[name], found.masks[name]
            _place(image, folder / "images" / f"{name}{image.suffix}", link)
            if LAYOUTS[dataset].instances:
                Image.fromarray(binary_instance_mask(mask)).save(folder / "masks" / f"{name}.png")
            else:
                _place(mask, folder / "masks" / f"{name}{mask.suffix}", link)


def _place(file: Path, target: Path, link: bool) -> None:
    if link:
        target.symlink_to(file.resolve())
    else:
        shutil.copyfile(file, target)

"""Prepare CT volumes with labels: write the axial slices that training reads, as TransUNet has them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.utils import optional_import

from condseg_monai.data.ct import synapse
from condseg_monai.data.ct.nifti import nifti_stem, read_nifti
from condseg_monai.data.ct.synapse import CT_WINDOW_HU, SLICE_ORIENTATION, SYNAPSE_ORGANS, synapse_class_names
from condseg_monai.data.ct.volume import (
    Volume,
    VolumeError,
    axial_slices,
    axial_spacing,
    check_hounsfield,
    class_numbers,
)
from condseg_monai.data.ct.volume_list import files_below
from condseg_monai.data.ct.volume_names import case_key, is_label_name, label_key
from condseg_monai.data.lists.pairing import DatasetError
from condseg_monai.data.lists.published_splits import PUBLISHED_LISTS, published_list
from condseg_monai.data.prepare.new_folder import (
    Split,
    built_beside,
    check_folders,
    is_of_one_case,
    move_out,
    write_dataset,
)

__all__ = ["prepare_synapse"]

h5py, _has_h5py = optional_import("h5py")

SOURCE_LABELS = ("btcv", *SYNAPSE_ORGANS, "own")
"""What the numbers of label volumes may mean: BTCV's 13 organs, Synapse's 8 in either order, or ``class_names``."""

ODD_SLICES = "odd"  # hold_out={"val": "odd"}: every second slice of the training cases


class VolumePair(NamedTuple):
    """A CT volume and its labels, NIfTI files, and the name of the case."""

    case: str
    image: Path
    label: Path


def find_volume_pairs(source: Path) -> tuple[list[VolumePair], list[Path]]:
    """Pair the NIfTI files in a folder and below by name, and return the images without label, too.

    A label has ``label``, ``segmentation``, ``seg``, ``mask`` or ``gt`` as a word of its path below ``source``; its
    image is the file whose path is the same without these words and without ``image``, ``img``, ``ct``, ``volume`` and
    ``scan``, and without ``_0000`` at the end; see :func:`~condseg_monai.data.ct.volume_names.case_key`. ``img0001``
    with ``label0001`` is ``case0001``; another case has what is left of the name.

    Raises:
        DatasetError: if there is no pair, a label has no image, or two files are taken for the same one.
    """
    if not source.is_dir():
        raise DatasetError(f"{source} is not a folder")
    by_key: dict[str, list[Path]] = {}
    labels: dict[str, list[Path]] = {}
    for path in files_below(source):
        stem = nifti_stem(path)
        if stem is not None:
            name = (path.relative_to(source).parent / stem).as_posix()
            (labels if is_label_name(name) else by_key).setdefault(case_key(name), []).append(path)
    images: dict[str, list[Path]] = {}
    for key, paths in by_key.items():
        images.setdefault(label_key(key, labels), []).extend(paths)
    same = [("image", paths) for paths in images.values()] + [("label", paths) for paths in labels.values()]
    problems = [f"{' and '.join(map(str, paths))} look like the same {kind}" for kind, paths in same if len(paths) > 1]
    problems += [f"{paths[0]} has no image" for key, paths in labels.items() if key not in images]
    names = {key: _case_name(key, images[key][0], labels[key][0], source) for key in labels if key in images}
    counts = Counter(names.values())
    problems += [f"{count} pairs would be called {name}" for name, count in counts.items() if count > 1]
    if problems or not names:
        lines = "\n".join(f"  - {problem}" for problem in problems or ["there is no image with a label"])
        text = "should hold NIfTI volumes and their labels, such as img0001.nii.gz and label0001.nii.gz"
        raise DatasetError(f"{source} {text}:\n{lines}")
    pairs = [VolumePair(name, images[key][0], labels[key][0]) for key, name in names.items()]
    return sorted(pairs), [path for key, paths in images.items() if key not in labels for path in paths]


def prepare_synapse(
    source: Path,
    destination: Path,
    *,
    organ_order: str = "transunet",
    source_labels: str | None = None,
    class_names: Sequence[str] | None = None,
    overwrite: bool = False,
    allow_missing: bool = False,
    hold_out: Mapping[str, int | str] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Make TransUNet's files of CT volumes and their labels; the source is only read.

    Values are clipped to [-125, 275] HU and scaled to [0, 1]; slices are axial, counted towards the head, not
    resampled. Training and validation slices become ``train_npz/CASE_sliceNNN.npz``, test volumes
    ``test_vol_h5/CASE.npy.h5``. If a case has the name of one of BTCV's 30, the published split and its slice counts
    hold; any other set is for training, but for ``hold_out``. The folder appears in its place when it is complete.

    Args:
        source: folder of the volumes, see :func:`find_volume_pairs`.
        destination: the folder to make.
        organ_order: the order of the eight organs in the labels that are written, a key of ``SYNAPSE_ORGANS``.
        source_labels: what the source's numbers mean, one of :data:`SOURCE_LABELS`; None is ``"btcv"`` for files named
            as BTCV's (``imgNNNN``, ``labelNNNN``), and an error for others.
        class_names: with ``source_labels="own"`` what they stand for, background first; they are kept as they are.
        overwrite: replace ``destination`` if it was made by ``prepare``.
        allow_missing: leave out published cases that have no files.
        hold_out: split -> number of training cases to move to that list; ``{"val": "odd"}`` moves every second slice of
            each training case, for sets of a single scan (neighbouring slices are alike: scores look better than they
            are).
        seed: of ``hold_out``.

    Returns:
        The content of ``dataset.json``.

    Raises:
        DatasetError: listing missing, unreadable and mismatched files, values that are not Hounsfield units, other
            labels, and slice counts that are not the published ones.
        FileExistsError: if ``destination`` is not empty.
        ValueError: if an argument makes no sense.
    """
    if not _has_h5py:
        raise ValueError('prepare synapse needs h5py: pip install "condseg_monai[synapse]"')
    check_folders(source, destination, overwrite)
    pairs, unlabelled = find_volume_pairs(source)
    table, names = _label_table(pairs, organ_order, source_labels, class_names)
    cases, missing = _splits(pairs, source, allow_missing)
    odd = (hold_out or {}).get("val") == ODD_SLICES
    for split, count in (hold_out or {}).items():
        if not (odd and split == "val"):
            move_out(cases, split, count, seed)
    problems: list[str] = []
    slices: dict[str, int] = {}
    with built_beside(destination) as folder:
        for name in ("train_npz", "test_vol_h5"):
            (folder / name).mkdir()
        wanted = {name: split for split, listed in cases.items() for name in listed.names}
        for pair in pairs:
            if pair.case in wanted:
                try:
                    slices[pair.case] = _write_case(pair, folder, wanted[pair.case] == "test", table)
                except Exception as error:
                    if not is_of_one_case(error):
                        raise
                    known = isinstance(error, (DatasetError, VolumeError))
                    problems.append(str(error) if known else f"{pair.image}: {type(error).__name__}: {error}")
        problems += _wrong_counts(cases, slices)
        if problems:
            lines = "\n".join(f"  - {problem}" for problem in problems)
            raise DatasetError(f"{len(problems)} problem(s), nothing was written:\n{lines}")
        others = [pair.case for pair in pairs if pair.case not in wanted]
        notes = [f"left out: {', '.join(others)}, which the published lists do not have"] if others else []
        notes += [f"left out: {len(unlabelled)} images without labels"] if unlabelled else []
        facts: dict[str, Any] = {"dataset": "synapse", "title": "multi-organ CT", "files": "converted"}
        facts |= {"class_names": list(names), "window_hu": list(CT_WINDOW_HU)}
        facts |= {"slice_orientation": SLICE_ORIENTATION, "slices": slices}
        lists = _lists(cases, slices, odd)
        return write_dataset(folder, source, lists, missing, notes, {"test": "test_vol.txt"}, **facts)


def _case_name(key: str, image: Path, label: Path, source: Path) -> str:
    number = re.fullmatch(r"img(\d{4})", nifti_stem(image) or "")
    if number and nifti_stem(label) == f"label{number[1]}":
        return f"case{number[1]}"  # BTCV's, and TransUNet's name for it
    name = key.rpartition("/")[2]
    name = str(nifti_stem(image)) if name.isdigit() else name or source.resolve().name
    return re.sub(r"[^\w.-]+", "_", name)


def _label_table(
    pairs: Sequence[VolumePair], organ_order: str, source_labels: str | None, class_names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """What each number of the source becomes, ``(n,)`` ``uint8``, and the names of the classes."""
    if source_labels is None and class_names is None:
        if not all(re.fullmatch(r"label\d{4}", str(nifti_stem(pair.label))) for pair in pairs):
            raise ValueError(
                f"source_labels must say what the numbers in {pairs[0].label} and the others mean: {_one_of_labels()}"
            )
        source_labels = "btcv"
    source_labels = source_labels or "own"
    if source_labels not in SOURCE_LABELS:
        raise ValueError(f"source_labels must be {_one_of_labels()}, got {source_labels!r}")
    if (source_labels == "own") != (class_names is not None):
        raise ValueError("--class_names go with --source_labels own, and the other way round")
    if class_names is not None:
        return np.arange(len(class_names), dtype=np.uint8), tuple(class_names)
    names = synapse_class_names(organ_order)
    if source_labels == "btcv":
        return synapse.btcv_label_map(organ_order), names
    return np.array([names.index(name) for name in synapse_class_names(source_labels)], dtype=np.uint8), names


def _one_of_labels() -> str:
    return (
        f"btcv (the {len(synapse.BTCV_ORGANS)} organs of BTCV), transunet or samed (the eight of Synapse in either "
        "order), or own with --class_names"
    )


def _splits(
    pairs: Sequence[VolumePair], source: Path, allow_missing: bool
) -> tuple[dict[str, Split], dict[str, list[str]]]:
    """The cases of each split, and those that the published lists have and the source has not."""
    found = {pair.case for pair in pairs}
    published = {"train": list(_published_counts()), "test": published_list("synapse", "test")}
    if found.isdisjoint({*published["train"], *published["test"]}):
        return {"train": Split(sorted(found), "ours", "all cases: the set has no published list")}, {}
    missing = {split: [name for name in names if name not in found] for split, names in published.items()}
    lacking = [name for names in missing.values() for name in names]
    if lacking and not allow_missing:
        raise DatasetError(
            f"{source} lacks {len(lacking)} of the 30 published cases: {', '.join(sorted(lacking))}; get them, or use "
            "--allow_missing to do without"
        )
    splits = {
        split: Split(kept, "published", PUBLISHED_LISTS["synapse"][split].source)
        for split, names in published.items()
        if (kept := [name for name in names if name in found])
    }
    return splits, missing


def _published_counts() -> dict[str, int]:
    return dict(Counter(name.partition("_slice")[0] for name in published_list("synapse", "train")))


def _lists(cases: Mapping[str, Split], slices: Mapping[str, int], odd: bool) -> dict[str, Split]:
    """What the lists name: slices for training and validation, cases for testing."""
    lists = dict(cases)
    for split, listed in cases.items():
        if split != "test":
            names = [f"{case}_slice{index:03d}" for case in listed.names for index in range(slices.get(case, 0))]
            lists[split] = listed._replace(names=names)
    if odd:
        train = lists["train"]
        lists["train"] = Split(train.names[::2], "ours", f"{train.source}; every second slice")
        lists["val"] = Split(train.names[1::2], "ours", "the other slices of the same cases")
    return lists


def _wrong_counts(cases: Mapping[str, Split], slices: Mapping[str, int]) -> list[str]:
    published = _published_counts()
    return [
        f"{name} has {slices[name]} slices and {published[name]} in TransUNet's list: is it the case of BTCV?"
        for split, listed in cases.items()
        for name in listed.names
        if split != "test" and name in slices and name in published and published[name] != slices[name]
    ]


def _write_case(pair: VolumePair, folder: Path, whole: bool, table: np.ndarray) -> int:
    image, label = read_nifti(pair.image), read_nifti(pair.label)
    _check_pair(image, label)
    check_hounsfield(image)
    images, labels = axial_slices(image.array, image.affine), axial_slices(label.array, image.affine)

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        numbers = class_numbers(label, labels[index], len(table))
        return synapse.window_ct(image.hounsfield(images[index])), table[numbers]

    if not whole:
        for index in range(len(images)):
            values, numbers = read(index)
            np.savez_compressed(folder / f"train_npz/{pair.case}_slice{index:03d}.npz", image=values, label=numbers)
        return len(images)
    with h5py.File(folder / "test_vol_h5" / f"{pair.case}.npy.h5", "w") as file:
        chunks = (1, *images.shape[1:])
        options = {"shape": images.shape, "chunks": chunks, "compression": "gzip", "compression_opts": 1}
        stored = {
            "image": file.create_dataset("image", dtype=np.float32, **options),
            "label": file.create_dataset("label", dtype=np.uint8, **options),
        }
        for index in range(len(images)):
            stored["image"][index], stored["label"][index] = read(index)
        file.attrs["spacing_mm"] = axial_spacing(image.affine)
        file.attrs["slice_orientation"] = SLICE_ORIENTATION
    return len(images)


def _check_pair(image: Volume, label: Volume) -> None:
    if image.array.shape != label.array.shape:
        raise DatasetError(
            f"{label.path} has the shape {label.array.shape} and {image.path} {image.array.shape}; they do not belong "
            "together"
        )
    corners = np.array(np.meshgrid(*([0, size - 1] for size in image.array.shape), [1], indexing="ij")).reshape(4, -1)
    apart = np.abs((image.affine - label.affine) @ corners)[:3].max()
    if apart > 0.5 * min(axial_spacing(image.affine)):
        raise DatasetError(
            f"{label.path} lies up to {apart:.1f} mm away from {image.path}: their affines differ; resample the label "
            "to the image, or copy the image's affine if the voxels do belong together"
        )

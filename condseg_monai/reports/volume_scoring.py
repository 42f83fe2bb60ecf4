"""Score predicted label volumes against true ones, organ by organ."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from condseg_monai.data.ct.h5_volume import h5_stem, read_h5_volume
from condseg_monai.data.ct.nifti import read_nifti
from condseg_monai.data.ct.volume import (
    Volume,
    VolumeError,
    axial_affine,
    axial_axes,
    axial_slices,
    axial_spacing,
    class_numbers,
)
from condseg_monai.data.ct.volume_list import VOLUME_EXTENSIONS, files_below, list_volumes, read_volume, volume_stem
from condseg_monai.data.ct.volume_names import case_key, is_label_name, label_key
from condseg_monai.metrics.volume_scores import organ_scores
from condseg_monai.networks.class_names import class_names_of
from condseg_monai.networks.state_dicts import read_state_dict
from condseg_monai.reports.drawing import draw_planes
from condseg_monai.reports.report_files import ReportFiles
from condseg_monai.reports.volume_report import ScoredVolume, write_volume_report
from condseg_monai.utils.files import file_sha256, read_json_object

__all__ = ["pair_volumes", "predicted_classes", "score_volumes"]

_LOG = logging.getLogger(__name__)
_SAME_PLACE = 0.1  # of a voxel


def score_volumes(
    pred: Path,
    label: Path,
    pred_class_names: Sequence[str],
    label_class_names: Sequence[str],
    save_dir: Path,
    name: str = "volumes",
    images: Path | None = None,
    empty: str = "diagonal",
    num_pictures: int = 12,
    context: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Score predicted label volumes and write the report; organs are matched by name, volumes by :func:`pair_volumes`.

    Label and prediction may have their axes in different orders: they are compared where they lie in the patient.

    Args:
        pred: a NIfTI file, or a folder of them.
        label: likewise, or TransUNet's ``.npy.h5``.
        pred_class_names: what the numbers in the predictions mean, background first; all but it are scored.
        label_class_names: the same of the labels, which may have more organs.
        save_dir: folder of the report.
        name: ends the names of its files.
        images: CT volumes named as the predictions, for the pictures.
        empty: distance where an organ is missed or made up.
        num_pictures: how many volumes to draw.
        context: conditions that the summary repeats.
        overwrite: replace an earlier report.

    Returns:
        The summary, with ``failed``: why volumes could not be scored, by path.

    Raises:
        FileExistsError: if the folder has a report of this name, unless ``overwrite``.
        ValueError: if an organ of the predictions is none of the labels, or no volume could be scored.
    """
    files = ReportFiles(save_dir, name, overwrite)
    files.refuse_earlier()
    missing = [organ for organ in pred_class_names[1:] if organ not in label_class_names]
    if missing:
        raise ValueError(f"the labels have no {', '.join(missing)}: they have {', '.join(label_class_names[1:])}")
    pairs, failed = pair_volumes(pred, label)
    pictured = {} if images is None else dict(list_volumes(images))
    to_pred = np.array([pred_class_names.index(n) if n in pred_class_names else 0 for n in label_class_names], np.uint8)
    scored: list[ScoredVolume] = []
    for case, (pred_file, label_file) in pairs.items():
        try:
            pred_volume, label_volume = _read_labels(pred_file), _read_labels(label_file)
            _check_same_place(pred_volume, label_volume)
            pred_labels = _axial_labels(pred_volume, len(pred_class_names))
            true_labels = to_pred[_axial_labels(label_volume, len(label_class_names))]
            spacing = axial_spacing(pred_volume.affine)
            axes = axial_axes(pred_volume.affine)
            scores = organ_scores(pred_labels, true_labels, len(pred_class_names), axes, empty)
            pictures: list[np.ndarray] = []
            if len(scored) < num_pictures:
                image = _image(pictured.get(case), pred_volume)
                pictures = draw_planes(image, pred_labels, true_labels, spacing)
        except Exception as error:  # whatever a case raises belongs to that case
            known = isinstance(error, (OSError, ValueError))
            failed[str(pred_file)] = str(error) if known else f"{type(error).__name__}: {error}"
        else:
            scored.append(ScoredVolume(case, scores, pictures))
    if not scored:
        lines = "\n".join(f"  - {path}: {reason}" for path, reason in failed.items())
        raise ValueError(f"no volume could be scored:\n{lines}")
    details = {**(context or {}), "class_names": list(pred_class_names), "empty_distance": empty, "failed": failed}
    return write_volume_report(files, name, scored, pred_class_names[1:], details, empty)


def pair_volumes(pred: Path, label: Path) -> tuple[dict[str, tuple[Path, Path]], dict[str, str]]:
    """Find the label of each prediction: the file of the same name, by :func:`case_key` and :func:`label_key`.

    ``label0001.nii.gz`` is so the label of ``img0001.nii.gz``, and ``liver_7.nii.gz`` that of ``liver_7_0000.nii.gz``.
    Of several files that would share a partner none is taken; where some of a folder are named as labels, only these
    are labels. Two files, instead of folders, are a pair.

    Returns:
        Prediction and label by the prediction's name, and why others have no partner, by path.
    """
    if pred.is_file() and label.is_file():
        return {str(volume_stem(pred) or pred.name): (pred, label)}, {}
    preds, labels = _files(pred), _files(label, labels=True)
    wanted: dict[str, dict[str, Path]] = defaultdict(dict)
    for key, files in preds.items():
        wanted[label_key(key, labels)] |= files
    pairs, failed = {}, {}
    for key in [*wanted, *(key for key in labels if key not in wanted)]:
        mine, theirs = wanted.get(key, {}), labels.get(key, {})
        if len(mine) == len(theirs) == 1:
            ((name, file),), (partner,) = mine.items(), theirs.values()
            pairs[name] = (file, partner)
            continue
        several = " and ".join(map(str, (*mine.values(), *theirs.values()))) + " have one name; keep a pair of them"
        for file in mine.values():
            failed[str(file)] = several if theirs else f"no label of this name in {label}"
        for file in theirs.values():
            failed[str(file)] = several if mine else f"no prediction of this name in {pred}"
    return pairs, failed


def predicted_classes(pred: Path, checkpoint: Path | None) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The classes that the checkpoint had, from the record of the inference or from the checkpoint itself."""
    record = (pred if pred.is_dir() else pred.parent) / "inference.json"
    context: dict[str, Any] = {}
    if record.is_file():
        content = read_json_object(record)
        context = {key: content.get(key) for key in ("checkpoint", "checkpoint_sha256", "resizing", "keep_largest")}
        context["class_names"] = content.get("class_names")
    names = context.get("class_names")
    if checkpoint is not None:
        own = class_names_of(read_state_dict(checkpoint, "checkpoint"))
        if own is None:
            raise ValueError(f"{checkpoint} does not say what its classes are called")
        sha256 = file_sha256(checkpoint)
        if context and (context["checkpoint_sha256"] != sha256 or (names and list(names) != list(own))):
            raise ValueError(
                f"{pred} was predicted with {context['checkpoint']}, by {record}, and not with {checkpoint}"
            )
        names, context = own, {**context, "checkpoint": str(checkpoint), "checkpoint_sha256": sha256}
    if not names:
        raise ValueError(f"what the numbers in {pred} mean is unknown: {record} does not say; give --checkpoint")
    return tuple(names), context


def _files(path: Path, labels: bool = False) -> dict[str, dict[str, Path]]:
    """Volumes of a folder, or of those below if it has none itself, by :func:`case_key`, then by name."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    root = path if path.is_dir() else path.parent
    files = [file for file in (files_below(path) if path.is_dir() else [path]) if volume_stem(file) is not None]
    files = [file for file in files if file.parent == root] or files
    if labels:  # images may lie beside them
        named = [file for file in files if is_label_name(file.relative_to(root).as_posix())]
        files = named or files
    if not files:
        raise ValueError(f"{path} has no label volume, {' or '.join(VOLUME_EXTENSIONS)}")
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for file in files:
        name = (file.relative_to(root).parent / str(volume_stem(file))).as_posix()
        shown = name.replace("/", "_")
        group = found[case_key(name).replace("/", "_")]
        group[file.name if shown in group else shown] = file
    return dict(found)


def _read_labels(path: Path) -> Volume:
    return read_nifti(path) if h5_stem(path) is None else read_h5_volume(path, "label")


def _check_same_place(pred: Volume, label: Volume) -> None:
    shapes = [axial_slices(volume.array, volume.affine).shape for volume in (pred, label)]
    if shapes[0] != shapes[1]:
        raise VolumeError(
            f"it is {shapes[0]} voxels and its label {label.path} {shapes[1]}, as (slices, rows, columns)"
        )
    corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array(shapes[0]) - 1)
    affines = [axial_affine(volume.affine, volume.array.shape) for volume in (pred, label)]
    places = [corners @ affine[:3, :3].T + affine[:3, 3] for affine in affines]
    apart = float(np.abs(places[0] - places[1]).max())
    if apart > _SAME_PLACE * min(axial_spacing(pred.affine)):
        raise VolumeError(f"it lies up to {apart:.1f} mm from its label {label.path}: they are of different scans")


def _axial_labels(volume: Volume, num_classes: int) -> np.ndarray:
    """Class numbers ``(D, H, W)``, ``uint8``."""
    return class_numbers(volume, axial_slices(volume.array, volume.affine), num_classes)


def _image(path: Path | None, pred: Volume) -> np.ndarray | None:
    """The CT ``(D, H, W)`` behind the labels; None without, or if it is broken: pictures cost no case its scores."""
    if path is None:
        return None
    try:
        volume = read_volume(path)
        _check_same_place(volume, pred)
        return volume.hounsfield(axial_slices(volume.array, volume.affine))
    except Exception as error:
        _LOG.warning(f"pictures of {pred.path} without the CT {path}: {error}")
        return None

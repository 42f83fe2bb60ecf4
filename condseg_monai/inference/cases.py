"""Cases of a run over many files: to do, kept from earlier, done, failed. A bad file does not stop the others."""

from __future__ import annotations

import json
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from condseg_monai.data.ct.volume_list import list_volumes
from condseg_monai.data.images.image_reader import IMAGE_EXTENSIONS, UnreadableImageError, read_natural_image
from condseg_monai.data.lists.dataset_report import no_mask_text
from condseg_monai.data.lists.image_list import list_images, list_other_files
from condseg_monai.data.lists.pairing import Case, DatasetError, Finding, find_cases, name_key, raise_if_any, some
from condseg_monai.inference.required_checkpoint import RequiredCheckpoint
from condseg_monai.utils.files import write_json

__all__ = ["Cases", "RunError", "image_cases", "scored_cases", "volume_cases"]

_LOG = logging.getLogger(__name__)
_RECORD = "inference.json"


class RunError(RuntimeError):
    """A run over many cases that cannot start, or that ended without a result for each; the message says which."""


class Cases:
    """Cases of a run. Nothing is listed before :attr:`todo` or :meth:`start`.

    Cases whose outputs all exist are kept, unless ``inference.json`` beside them names other weights; ``overwrite``
    makes them again. ``list_cases`` gives the cases, each with ``image``, its file, and where that is not its stem
    ``name``, and what keeps others from being used; ``result`` is what each gets, for messages; ``outputs`` maps kinds
    to a folder below ``output_dir``, which is None for no outputs, and an extension.
    """

    def __init__(
        self,
        list_cases: Callable[[], tuple[list[Case], list[Finding]]],
        checkpoint: RequiredCheckpoint,
        result: str,
        output_dir: str | os.PathLike[str] | None = None,
        outputs: Mapping[str, tuple[str, str]] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.list_cases, self.checkpoint, self.result = list_cases, checkpoint, result
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.outputs, self.overwrite = dict(outputs or {}), overwrite
        self.failed: list[Finding] = []

    @property
    def todo(self) -> list[Case]:
        """The cases the network has to see; none if the source is unusable."""
        return self._sorted[0]

    def start(self) -> None:
        """Load the checkpoint, log what the run will do, and raise a RunError before any work if it cannot succeed."""
        try:
            self.checkpoint.load()
            self._all  # noqa: B018
        except (FileNotFoundError, ValueError) as error:
            raise RunError(str(error)) from error
        todo, kept = self._sorted
        if kept:
            self._refuse_other_weights()
        for finding in self.failed:
            _LOG.warning(f"no {self.result}: {finding.text}")
        _LOG.info(
            f"{len(todo)} cases to do, {_kept_words(len(kept))}"
            + (f"; outputs go to {self.output_dir}" if self.output_dir else "")
        )
        if self.output_dir is not None:
            if self.overwrite:  # else a later run would take what is left of them for its own
                for case in todo:
                    for kind in self.outputs:
                        self.path(kind, case).unlink(missing_ok=True)
            self._write_record([], {})  # before the first output: if the run is killed, they are known to be its own

    def fail(self, finding: Finding) -> None:
        """Note why a case, named by the first of its files, has no result."""
        self.failed.append(finding)
        _LOG.error(f"no {self.result}: {finding.text}")

    def path(self, kind: str, case: Case) -> Path:
        """The file of an output of a case."""
        assert self.output_dir is not None
        folder, extension = self.outputs[kind]
        return self.output_dir / folder / f"{_name(case)}{extension}"

    def finish(self, failed_writes: Mapping[str, str] | None = None, **record: Any) -> None:
        """Write ``inference.json``, where there are outputs, and say what came of each case.

        The file lists the cases ``segmented`` in this run, those ``kept`` from an earlier one, why others ``failed``,
        the ``checkpoint`` with its SHA-256, and ``record``. ``failed_writes`` is what :meth:`WriteQueue.finish`
        returns.

        Raises:
            RunError: listing the cases without a result, if there are any; all others have theirs.
        """
        todo, kept = self._sorted
        failed: dict[str, str] = {}
        for finding in self.failed:
            name = finding.files[0]
            failed[name] = f"{failed[name]}; {finding.text}" if name in failed else finding.text
        reasons = {str(Path(path)): reason for path, reason in (failed_writes or {}).items()}
        for case in todo:
            paths = [self.path(kind, case) for kind in self.outputs]
            why = next((reasons[str(path)] for path in paths if str(path) in reasons), None)
            if case["image"] not in failed and (why is not None or not all(path.is_file() for path in paths)):
                failed[case["image"]] = why or "no output was written"
        bad = {path for finding in self.failed for path in finding.files} | failed.keys()
        done = [case["image"] for case in todo if bad.isdisjoint(case.values())]
        if self.output_dir is not None:
            self._write_record(done, failed, **record)
        _LOG.info(f"{len(done)} cases done, {_kept_words(len(kept))}, {len(failed)} failed")
        if failed:
            lines = "\n".join(f"  - {path}: {reason}" for path, reason in failed.items())
            number = len(done) + len(kept) + len(failed)
            raise RunError(f"{len(failed)} of {number} cases have no {self.result}:\n{lines}")

    def _write_record(self, done: list[str], failed: Mapping[str, str], **record: Any) -> None:
        assert self.output_dir is not None
        content = {"segmented": done, "kept": [case["image"] for case in self._sorted[1]], "failed": failed}
        write_json(self.output_dir / _RECORD, {**content, **self.checkpoint.describe(), **record})

    @cached_property
    def _all(self) -> list[Case]:
        cases, failed = self.list_cases()
        by_name: dict[str, list[str]] = defaultdict(list)
        for case in cases:
            by_name[name_key(_name(case))].append(case["image"])
        if clashes := [" and ".join(paths) for paths in by_name.values() if len(paths) > 1]:
            lines = "\n".join(f"  - {clash}" for clash in clashes)
            raise DatasetError(f"cases of one name would write the same {self.result}; rename them:\n{lines}")
        sources = {Path(case["image"]).resolve() for case in cases}
        folders = {path.parent for path in sources} | sources  # a DICOM series is a folder itself
        folders |= {folder.parent / "masks" for folder in folders if folder.name == "images"}
        if self.output_dir is not None and self.output_dir.resolve() in folders:
            raise DatasetError(f"output_dir {self.output_dir} holds the images or labels; give a folder of its own")
        self.failed.extend(failed)
        return cases

    @cached_property
    def _sorted(self) -> tuple[list[Case], list[Case]]:
        try:
            cases = self._all
        except DatasetError:
            return [], []
        todo: list[Case] = []
        kept: list[Case] = []
        for case in cases:
            done = self.outputs and not self.overwrite and all(self.path(kind, case).is_file() for kind in self.outputs)
            (kept if done else todo).append(case)
        return todo, kept

    def _refuse_other_weights(self) -> None:
        assert self.output_dir is not None
        record = self.output_dir / _RECORD
        try:
            earlier = json.loads(record.read_text(encoding="utf-8"))
            name, sha256 = earlier["checkpoint"], earlier["checkpoint_sha256"]
        except (KeyError, OSError, TypeError, ValueError):
            return  # no record, or one that does not say
        if sha256 is not None and sha256 != self.checkpoint.sha256:
            raise RunError(
                f"{self.output_dir} has outputs of other weights: {record} names {name} (SHA-256 "
                f"{sha256[:12]}...), this run has {self.checkpoint.path}; give another output_dir, or make them again "
                "with --overwrite true"
            )


def image_cases(
    source: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    checkpoint: RequiredCheckpoint,
    save_probability: str = "none",
    save_uncertainty: str = "none",
    save_overlay: bool = False,
    overwrite: bool = False,
) -> Cases:
    """Cases of images to segment; ``source`` is a folder, list or image.

    Masks go to ``{output_dir}/{stem}.png``; what else is asked for to ``probability/``, ``uncertainty/`` and
    ``overlay/`` in it. ``save_probability`` and ``save_uncertainty`` are ``"none"``, ``"png"`` or ``"npy"``, else a
    ValueError.
    """
    outputs = {"mask": ("", ".png"), **_scores(("none", "png", "npy"), save_probability, save_uncertainty)}
    if save_overlay:
        outputs["overlay"] = ("overlay", ".png")
    return Cases(partial(_list_images, source), checkpoint, "mask", output_dir, outputs, overwrite)


def volume_cases(
    source: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    checkpoint: RequiredCheckpoint,
    save_probability: str = "none",
    save_uncertainty: str = "none",
    save_dicom_seg: bool = False,
    overwrite: bool = False,
) -> Cases:
    """Cases of CT volumes to segment; ``source`` is a file, folder, list or DICOM series, see :func:`list_volumes`.

    Labels go to ``{output_dir}/{name}.nii.gz``; what else is asked for to ``probability/`` (an axis of classes),
    ``uncertainty/`` and, of DICOM series, ``dicom_seg/`` in it. ``save_probability`` and ``save_uncertainty`` are
    ``"none"``, ``"nii"`` (much faster and larger) or ``"nii.gz"``, else a ValueError.
    """
    outputs = {"label": ("", ".nii.gz"), **_scores(("none", "nii", "nii.gz"), save_probability, save_uncertainty)}
    if save_dicom_seg:
        outputs["dicom_seg"] = ("dicom_seg", ".dcm")
    return Cases(partial(_list_volumes, source, save_dicom_seg), checkpoint, "label", output_dir, outputs, overwrite)


def scored_cases(
    dataset_dir: str | os.PathLike[str], split: str, checkpoint: RequiredCheckpoint, mask_threshold: float = 127
) -> Cases:
    """Cases of an evaluation, which are image and mask, of one split of a dataset.

    A case without a file, or with one that cannot be read, is left out and reported. What makes the scores of all cases
    worthless stops the run before it starts: a missing or empty list, a case that is on it twice or on another list
    too, no mask that reaches ``mask_threshold``, in [0, 255).
    """
    return Cases(partial(_list_scored, Path(dataset_dir), split, mask_threshold), checkpoint, "score")


def _scores(formats: Sequence[str], save_probability: str, save_uncertainty: str) -> dict[str, tuple[str, str]]:
    asked = {"probability": save_probability, "uncertainty": save_uncertainty}
    for kind, value in asked.items():
        if value not in formats:
            raise ValueError(f"save_{kind} must be one of {', '.join(formats)}, got {value!r}")
    return {kind: (kind, f".{value}") for kind, value in asked.items() if value != "none"}


def _list_images(source: str | os.PathLike[str]) -> tuple[list[Case], list[Finding]]:
    cases = list_images(source)
    if others := list_other_files(source):
        _LOG.warning(
            f"{len(others)} file(s) of {source} left out, for want of an extension of {', '.join(IMAGE_EXTENSIONS)}: "
            f"{some(others)}"
        )
    return cases, []


def _list_volumes(source: str | os.PathLike[str], dicom_seg: bool) -> tuple[list[Case], list[Finding]]:
    volumes = list_volumes(source)
    if others := [str(path) for _, path in volumes if dicom_seg and path.is_file()]:
        raise DatasetError(f"save_dicom_seg needs DICOM series, and {', '.join(others[:3])} is none; leave it off")
    return [{"image": str(path), "name": name} for name, path in volumes], []


def _list_scored(root: Path, split: str, mask_threshold: float) -> tuple[list[Case], list[Finding]]:
    pairing = find_cases(root, (split,))
    cases, missing = pairing.cases[split], [problem for problem in pairing.problems if problem.kind == "pair"]
    others = [problem for problem in pairing.problems if problem.kind != "pair"]
    raise_if_any(root, others or ([] if cases else missing))
    largest = 0.0
    for case in cases:  # nearly always the first is enough
        try:
            largest = max(largest, float(read_natural_image(case["label"], "L").max()))
        except UnreadableImageError:
            continue  # reported when the case is loaded
        if largest > mask_threshold:
            break
    else:
        if largest > 0:
            raise DatasetError(no_mask_text(f"no mask of {split}", mask_threshold, largest))
    return cases, missing


def _name(case: Case) -> str:
    return case.get("name", Path(case["image"]).stem)


def _kept_words(number: int) -> str:
    return f"{number} kept from earlier runs" + (" (--overwrite true makes them again)" if number else "")

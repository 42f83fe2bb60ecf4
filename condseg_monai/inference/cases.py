"""Cases of a run over many files: to do, kept from earlier, done, failed. A bad file does not stop the others."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from condseg_monai.data.ct.volume_list import list_volumes
from condseg_monai.data.images.dicom_picture import frame_of
from condseg_monai.data.images.image_reader import IMAGE_EXTENSIONS, UnreadableImageError, read_natural_image
from condseg_monai.data.lists.dataset_report import no_mask_text
from condseg_monai.data.lists.image_list import dicom_frames, is_dicom_picture, list_images, list_other_files
from condseg_monai.data.lists.pairing import (
    Case,
    DatasetError,
    Finding,
    case_name,
    find_cases,
    name_key,
    raise_if_any,
    some,
)
from condseg_monai.inference.output_record import OutputRecord, Source, content_sha256, has_record
from condseg_monai.inference.required_checkpoint import RequiredCheckpoint
from condseg_monai.utils.interruption import interruption_behind, signal_of, sigterm_interrupts
from condseg_monai.utils.processes import gather_lists

__all__ = ["Cases", "RunError", "image_cases", "scored_cases", "volume_cases"]

_LOG = logging.getLogger(__name__)
_MOST_NAMED = 20


class RunError(RuntimeError):
    """A run over many cases that cannot start, or that ended without a result for each; the message says which.

    Attributes:
        done: how many cases have their result.
    """

    def __init__(self, message: str, done: int = 0) -> None:
        super().__init__(message)
        self.done = done


class Cases:
    """Cases of a run. Nothing is listed before :attr:`todo` or :meth:`start`.

    ``inference.json`` in ``output_dir`` says of each output what it was made of: the source and the SHA-256 of its
    content, weights and settings. An output that is there is kept if all of that is as it would be made now; any other
    is refused, unless ``overwrite`` makes it again. A missing output is made without touching the others of its case.

    Of several processes (``torch.distributed``) the first lists the cases, each does its share, and the first writes
    the record.

    Args:
        list_cases: gives the cases, each with ``image``, its file, and where that is not its stem ``name``, and what
            keeps others from being used.
        checkpoint: the weights; its card has settings.
        result: what each case gets, for messages.
        output_dir: None for no outputs.
        outputs: a folder below ``output_dir`` and an extension by kind.
        settings: what else decides how outputs look, JSON-ready.
        overwrite: make existing outputs again.
    """

    def __init__(
        self,
        list_cases: Callable[[], tuple[list[Case], list[Finding]]],
        checkpoint: RequiredCheckpoint,
        result: str,
        output_dir: str | os.PathLike[str] | None = None,
        outputs: Mapping[str, tuple[str, str]] | None = None,
        settings: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.list_cases, self.checkpoint, self.result = list_cases, checkpoint, result
        self.outputs, self.overwrite = dict(outputs or {}), overwrite
        self.settings = dict(settings or {})
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.failed: list[Finding] = []
        self.kept: list[Case] = []
        self.is_part = False
        self._record: OutputRecord | None = None
        self._shared: list[Case] | None = None  # of all processes

    @cached_property
    def todo(self) -> list[Case]:
        """The cases the network has to see; none if the source is unusable. :meth:`start` takes out those it keeps."""
        try:
            return list(self._all)
        except DatasetError:
            return []

    def run(self, evaluator: Any) -> None:
        """Start, run an evaluator over the cases, and finish, also where the evaluator fails.

        Cases put into the evaluator's data set from outside take the place of those of the source.

        Raises:
            RunError: see :meth:`start` and :meth:`finish`.
        """
        data = evaluator.data_loader.dataset.data
        if data is not self.todo:
            self.list_cases, self.todo = lambda: (list(data), []), data
        with self.started():
            if self.todo:
                evaluator.state.epoch_length = None  # else an earlier run says after how many batches to stop
                evaluator.run()

    def take_part(self, part: list[Case]) -> None:
        """Take these cases in place of those of the source, of a run whose outputs and record another process keeps.

        Those that have all outputs already, from an attempt that was cut short, are kept.
        """
        self.is_part, self.failed, self._all = True, [], part
        left = [case for case in part if self.is_missing(case)]
        self.kept = [case for case in part if case not in left]
        if "todo" in self.__dict__:
            self.todo[:] = left  # in place: a data set has this list
        else:
            self.todo = left

    @contextmanager
    def started(self, **record: Any) -> Iterator[None]:
        """Start, and finish when the block ends, in whatever way; see :meth:`start` and :meth:`finish`.

        Raises:
            KeyboardInterrupt: on Ctrl-C and SIGTERM, after the record is written; the message says how to continue.
        """
        with sigterm_interrupts():
            self.start()
            try:
                yield
            except RunError:
                raise
            except BaseException as error:
                interruption = interruption_behind(error)
                if interruption is None:
                    self._finish(f"the run ended before: {error or type(error).__name__}")
                    raise
                raise type(interruption)(self._interrupted(signal_of(interruption))) from None
            self._gather()
            if idist.get_rank() == 0:
                self.finish(**record)

    def start(self) -> None:
        """Load the checkpoint, log what the run will do, and raise a RunError before any work if it cannot succeed."""
        try:
            self.checkpoint.load()
            self._all  # noqa: B018
            if self.output_dir is not None and not self.is_part and idist.get_rank() == 0:
                self._record = self._claim_outputs(self.todo)
            self._share()
        except (OSError, ValueError) as error:
            raise RunError(str(error)) from error
        for finding in self.failed:
            _LOG.warning(f"no {self.result}: {finding.text}")
        _LOG.info(
            f"{len(self.todo)} cases to do, {_kept_words(len(self.kept))}"
            + (f"; outputs go to {self.output_dir}" if self.output_dir else "")
        )

    def _share(self) -> None:
        """Leave of the cases that the first process has to do this process's share."""
        if (number := idist.get_world_size()) == 1:
            return
        self._shared = gather_lists(self.todo if idist.get_rank() == 0 else [])
        if 0 < len(self._shared) < number:
            raise DatasetError(f"{len(self._shared)} cases for {number} processes: start as many as there are cases")
        self.todo[:] = self._shared[idist.get_rank() :: number]  # in place: a data set has this list
        if idist.get_rank() > 0:
            self.failed.clear()  # what the first process has found too

    def _gather(self) -> None:
        """Bring what failed in other processes to the first."""
        if self._shared is not None:
            self.failed[:] = gather_lists(self.failed)

    def fail(self, finding: Finding) -> None:
        """Note why a case, named by the first of its files, has no result."""
        self.failed.append(finding)
        _LOG.error(f"no {self.result}: {finding.text}")

    def path(self, kind: str, case: Case) -> Path:
        """The file of an output of a case."""
        assert self.output_dir is not None
        folder, extension = self.outputs[kind]
        return self.output_dir / folder / f"{case_name(case)}{extension}"

    def wants(self, kind: str, case: Case) -> bool:
        """Whether an output of a case is asked for and not there."""
        return kind in self.outputs and not self.path(kind, case).is_file()

    def is_missing(self, case: Case) -> bool:
        """Whether any output of a case is asked for and not there."""
        return any(self.wants(kind, case) for kind in self.outputs)

    def finish(self, **record: Any) -> None:
        """Write ``inference.json``, where there are outputs, and say what came of each case.

        The file lists the cases ``segmented`` in this run, those ``kept`` from an earlier one, why others ``failed``,
        the ``checkpoint`` with its SHA-256, and ``record``.

        Raises:
            RunError: listing the cases without a result, if there are any; all others have theirs. Or if the record
                cannot be written.
        """
        failed, number, unrecorded = self._finish(**record)
        if failed:
            lines = [f"  - {path}: {reason.removeprefix(f'{path}: ')}" for path, reason in failed.items()]
            if len(lines) > _MOST_NAMED:
                lines[_MOST_NAMED:] = [f"  - and {len(lines) - _MOST_NAMED} more, see the log"]
            also = f"{unrecorded}; " if unrecorded else ""
            text = f"{also}{len(failed)} of {number} cases have no {self.result}:\n" + "\n".join(lines)
            raise RunError(text, done=number - len(failed))
        if unrecorded:
            raise RunError(unrecorded, done=number)

    def _interrupted(self, by: str) -> str:
        failed, number, _ = self._finish(f"the run was stopped by {by} before")
        if self.output_dir is None:
            return f"stopped by {by}: nothing was written; start again"
        done = number - len(failed)
        return f"stopped by {by}: {done} of {number} cases have their {self.result}; the same command makes the others"

    def _finish(self, unfinished: str = "no output was written", **record: Any) -> tuple[dict[str, str], int, str]:
        """Return why cases have no result, how many cases there are, and why the record could not be written."""
        failed: dict[str, str] = {}
        for finding in self.failed:
            name = finding.files[0]
            failed[name] = f"{failed[name]}; {finding.text}" if name in failed else finding.text
        todo = self.todo if self._shared is None else self._shared
        for case in todo:
            if case["image"] not in failed and self.is_missing(case):
                failed[case["image"]] = unfinished
        bad = {path for finding in self.failed for path in finding.files} | failed.keys()
        done = [case["image"] for case in todo if bad.isdisjoint(case.values())]
        number = len(done) + len(self.kept) + len(failed)
        unrecorded = ""
        if self._record is not None:
            kept = [case["image"] for case in self.kept]
            content = {"segmented": done, "kept": kept, "failed": dict(failed)}
            try:
                self._record.finish(**content, **record)
            except OSError as error:
                unrecorded = f"the record {self._record.path} cannot be written: {error}"
        cases = "case" if len(done) == 1 else "cases"
        _LOG.info(f"{len(done)} {cases} done, {_kept_words(len(self.kept))}, {len(failed)} without {self.result}")
        return failed, number, unrecorded

    def _claim_outputs(self, todo: list[Case]) -> OutputRecord:
        """Take the cases whose outputs are all there out of ``todo``, and record what the others will be made of."""
        assert self.output_dir is not None
        card = self.checkpoint.card
        settings = {**({} if card is None else card.settings()), **self.settings}
        record = OutputRecord(self.output_dir, {**self.checkpoint.describe(), "settings": settings})
        record.claim()
        try:
            files: dict[Path, Source] = {}
            unreadable = set()
            sha256 = cache(content_sha256)  # of a file with many frames once
            for case in todo:
                image = case["image"]
                try:
                    source = Source(image, sha256(frame_of(image)[0]))
                    # a name may be too long
                    folders = [path for kind in self.outputs if (path := self.path(kind, case)).is_dir()]
                except OSError as error:
                    self.fail(Finding("unreadable", f"{image} cannot be used: {error}", (image,)))
                    unreadable.add(image)
                    continue
                if folders:
                    where = f"output_dir: {folders[0]} is a folder where a file would be written"
                    raise DatasetError(f"{where}; move it away")
                files |= {self.path(kind, case): source for kind in self.outputs}
            if self.overwrite:
                for path in files:
                    path.unlink(missing_ok=True)
            else:
                record.refuse_others(files)
            left = [case for case in todo if case["image"] not in unreadable]
            self.kept = [case for case in left if not self.is_missing(case)]
            kept = {case["image"] for case in self.kept}
            todo[:] = [case for case in left if case["image"] not in kept]  # in place: a data set has this list
            record.begin(files)
        except BaseException:
            record.release()
            raise
        return record

    @cached_property
    def _all(self) -> list[Case]:
        cases, failed = self.list_cases()
        by_name: dict[str, list[str]] = defaultdict(list)
        for case in cases:
            by_name[name_key(case_name(case))].append(case["image"])
        if clashes := [" and ".join(paths) for paths in by_name.values() if len(paths) > 1]:
            lines = "\n".join(f"  - {clash}" for clash in clashes)
            raise DatasetError(f"cases of one name would write the same {self.result}; rename them:\n{lines}")
        sources = {frame_of(case["image"])[0].resolve() for case in cases}
        folders = {path.parent for path in sources} | sources  # a DICOM series is a folder itself
        folders |= {folder.parent / "masks" for folder in folders if folder.name == "images"}
        if self.output_dir is not None and self.output_dir.resolve() in folders:
            raise DatasetError(f"output_dir {self.output_dir} holds the images or labels; give a folder of its own")
        for case in cases if self.output_dir is not None else ():
            for kind in self.outputs:
                if self.path(kind, case).resolve() in sources:
                    raise DatasetError(
                        f"output_dir: {self.path(kind, case)} is one of the inputs and would be overwritten; give "
                        "another folder"
                    )
        self.failed.extend(failed)
        return cases


def image_cases(
    source: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    checkpoint: RequiredCheckpoint,
    save_probability: str = "none",
    save_uncertainty: str = "none",
    save_overlay: bool = False,
    save_gradcam: str = "none",
    gradcam_layer: str = "output.conv2",
    save_contours: bool = False,
    save_dicom_seg: bool = False,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Cases:
    """Cases of images to segment; ``source`` is a folder, list or image. Each frame of a DICOM file is a case.

    Masks go to ``{output_dir}/{stem}.png``; what else is asked for to ``probability/``, ``uncertainty/``, ``overlay/``,
    ``gradcam/{gradcam_layer}/``, ``contours/`` and, of DICOM pictures, ``dicom_seg/`` in it. ``save_probability``,
    ``save_uncertainty`` and ``save_gradcam`` are ``"none"``, ``"png"`` or ``"npy"``, else a ValueError; of several
    classes probabilities are ``"npy"`` alone, ``(C, H, W)``, and there is no Grad-CAM.
    """
    if checkpoint.card is not None and checkpoint.card.classes is not None:
        names = ", ".join(checkpoint.card.classes)
        if save_probability == "png":
            raise ValueError(f"save_probability png is of one class, and the model has {names}: take npy, (C, H, W)")
        if save_gradcam != "none":
            raise ValueError(f"save_gradcam is of one class, and the model has {names}: leave it out")
    scores = {"probability": save_probability, "uncertainty": save_uncertainty, "gradcam": save_gradcam}
    outputs = {"mask": ("", ".png"), **_scores(("none", "png", "npy"), scores)}
    if save_gradcam != "none":
        outputs["gradcam"] = (f"gradcam/{gradcam_layer}", f".{save_gradcam}")
    if save_overlay:
        outputs["overlay"] = ("overlay", ".png")
    if save_contours:
        outputs["contours"] = ("contours", ".geojson")
    if save_dicom_seg:
        outputs["dicom_seg"] = ("dicom_seg", ".dcm")
    return Cases(
        partial(_list_images, source, save_dicom_seg), checkpoint, "mask", output_dir, outputs, settings, overwrite
    )


def volume_cases(
    source: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    checkpoint: RequiredCheckpoint,
    save_probability: str = "none",
    save_uncertainty: str = "none",
    save_dicom_seg: bool = False,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Cases:
    """Cases of CT volumes to segment; ``source`` is a file, folder, list or DICOM series, see :func:`list_volumes`.

    Labels go to ``{output_dir}/{name}.nii.gz``; what else is asked for to ``probability/`` (an axis of classes),
    ``uncertainty/`` and, of DICOM series, ``dicom_seg/`` in it. ``save_probability`` and ``save_uncertainty`` are
    ``"none"``, ``"nii"`` (much faster and larger) or ``"nii.gz"``, else a ValueError.
    """
    scores = {"probability": save_probability, "uncertainty": save_uncertainty}
    outputs = {"label": ("", ".nii.gz"), **_scores(("none", "nii", "nii.gz"), scores)}
    if save_dicom_seg:
        outputs["dicom_seg"] = ("dicom_seg", ".dcm")
    list_cases = partial(_list_volumes, source, output_dir, save_dicom_seg)
    return Cases(list_cases, checkpoint, "label", output_dir, outputs, settings, overwrite)


def scored_cases(
    dataset_dir: str | os.PathLike[str],
    split: str,
    checkpoint: RequiredCheckpoint,
    mask_threshold: float | None = 127,
    fold: int | None = None,
    mask_suffix: str = "",
) -> Cases:
    """Cases of an evaluation, which are image and mask, of one split of a dataset, or of one of its folds.

    A case without a file, or with one that cannot be read, is left out and reported. What makes the scores of all cases
    worthless stops the run before it starts: a missing or empty list, a case that is on it twice or on another list
    too, no mask that reaches ``mask_threshold``, in [0, 255); None, of masks of several classes, has no such check.
    """
    return Cases(
        partial(_list_scored, Path(dataset_dir), split, mask_threshold, fold, mask_suffix), checkpoint, "score"
    )


def _scores(formats: Sequence[str], asked: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    for kind, value in asked.items():
        if value not in formats:
            raise ValueError(f"save_{kind} must be one of {', '.join(formats)}, got {value!r}")
    return {kind: (kind, f".{value}") for kind, value in asked.items() if value != "none"}


def _list_images(source: str | os.PathLike[str], dicom_seg: bool) -> tuple[list[Case], list[Finding]]:
    cases, wrong, without_pixels = dicom_frames(_without_outputs(list_images(source), source))
    if dicom_seg and (no_dicom := [case["image"] for case in cases if not is_dicom_picture(case["image"])]):
        raise DatasetError(f"save_dicom_seg needs DICOM pictures, and {some(no_dicom)} is none; leave it off")
    others = [str(path) for path in list_other_files(source)]
    if others := sorted({*others} - _outputs_among(others, source)):
        _LOG.warning(
            f"{len(others)} file(s) of {source} left out, for want of an extension of {', '.join(IMAGE_EXTENSIONS)}: "
            f"{some(others)}"
        )
    if without_pixels and not cases and not wrong:
        raise DatasetError(f"{source} has no image: its DICOM file(s) have no pixels, {some(without_pixels)}")
    if without_pixels:
        _LOG.warning(
            f"{len(without_pixels)} DICOM file(s) of {source} left out, without pixels: {some(without_pixels)}"
        )
    return cases, wrong


def _list_volumes(
    source: str | os.PathLike[str], output_dir: str | os.PathLike[str], dicom_seg: bool
) -> tuple[list[Case], list[Finding]]:
    volumes = list_volumes(source, output_dir)
    if others := [str(path) for _, path in volumes if dicom_seg and path.is_file()]:
        raise DatasetError(f"save_dicom_seg needs DICOM series, and {', '.join(others[:3])} is none; leave it off")
    return _without_outputs([{"image": str(path), "name": name} for name, path in volumes], source), []


def _without_outputs(cases: list[Case], source: str | os.PathLike[str]) -> list[Case]:
    """Leave out of a source folder what earlier runs wrote into folders in it."""
    written = _outputs_among([case["image"] for case in cases], source)
    if not written:
        return cases
    if len(written) == len(cases):
        raise DatasetError(f"{source} has nothing but outputs of earlier runs: {some(sorted(written))}")
    _LOG.info(f"{len(written)} output(s) of earlier runs in {source} left out")
    return [case for case in cases if case["image"] not in written]


def _outputs_among(files: Sequence[str], source: str | os.PathLike[str]) -> set[str]:
    """Those of the files below a source folder that lie in a folder with a record of inference."""
    root = Path(source)
    folders = {folder for file in files for folder in Path(file).parents if root in folder.parents}
    recorded = {folder for folder in folders if has_record(folder)}
    return {file for file in files if not recorded.isdisjoint(Path(file).parents)}


def _list_scored(
    root: Path, split: str, mask_threshold: float | None, fold: int | None, mask_suffix: str
) -> tuple[list[Case], list[Finding]]:
    pairing = find_cases(root, (split,), fold, mask_suffix)
    cases, missing = pairing.cases[split], [problem for problem in pairing.problems if problem.kind == "pair"]
    others = [problem for problem in pairing.problems if problem.kind != "pair"]
    raise_if_any(root, others or ([] if cases else missing))
    if mask_threshold is None:
        return cases, missing
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


def _kept_words(number: int) -> str:
    return f"{number} kept from earlier runs" + (" (--overwrite true makes them again)" if number else "")

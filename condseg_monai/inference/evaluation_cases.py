"""What an evaluation can score, and what stands in the way of the rest."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from torch import nn

from condseg_monai.data.lists.dataset_report import inspect_dataset
from condseg_monai.data.lists.pairing import Case, DatasetError, Finding
from condseg_monai.inference.required_checkpoint import require_checkpoint

__all__ = ["EvaluationCases", "EvaluationError"]

# What is wrong with single cases; all else puts the whole list in doubt: a case twice, or one that was trained on.
_SINGLE = ("pair", "unreadable", "size")


class EvaluationError(RuntimeError):
    """An evaluation that cannot start, or that ended without a score for every case; the message says which."""


class _Sorted(NamedTuple):
    good: list[Case]
    failed: list[Finding]
    obstacles: list[Finding]
    warnings: list[Finding]


class EvaluationCases:
    """Sort the cases of an evaluation, so that one bad file does not cost the others.

    Image and mask of each case are decoded and compared once before the run. Cases without a file, with one that
    cannot be decoded to its last pixel, or with an image and a mask of different sizes are left out of the run, named
    in its report, and raised at its end. What makes the scores of all cases worthless stops the run before it starts:
    a missing or empty list, a case that is on it twice or on another list too, no mask that reaches ``mask_threshold``.
    Files are first looked at when :attr:`good`, :attr:`failed` or :meth:`start` is used.

    Args:
        dataset_dir: folder with ``images/``, ``masks/`` and the lists, see :func:`~condseg_monai.data.load_datalist`.
        split: ``"train"``, ``"val"`` or ``"test"``.
        mask_threshold: mask values above it are foreground, in [0, 255).
    """

    def __init__(self, dataset_dir: str | os.PathLike[str], split: str, mask_threshold: float = 127) -> None:
        self.dataset_dir = dataset_dir
        self.split = split
        self.mask_threshold = mask_threshold

    @property
    def good(self) -> list[Case]:
        """One ``{"image": path, "label": path}`` for each case that can be scored, in the order of the list.

        Raises:
            DatasetError: if there is something that makes the scores of all cases worthless, or none is good.
        """
        good, failed, obstacles, _ = self._sorted
        problems = obstacles or ([] if good else failed)
        if problems:
            raise DatasetError(
                f"{self.split} of the data set {os.fspath(self.dataset_dir)} cannot be scored, for "
                f"{len(problems)} problem(s):\n{_lines(problems)}"
            )
        return good

    @property
    def failed(self) -> list[Finding]:
        """What keeps the other cases from being scored."""
        return self._sorted.failed

    def start(self, checkpoint: str | os.PathLike[str], network: nn.Module | None = None) -> None:
        """Stop before any work if the run cannot succeed, and say which cases it leaves out.

        Args:
            checkpoint: the weights the run needs.
            network: what they will be loaded into; None does not look whether they fit.

        Raises:
            EvaluationError: if ``checkpoint`` is missing, damaged or of another network.
            DatasetError: see :attr:`good`.
        """
        remedy = (
            "train it first, convert a released one with python -m condseg_monai convert-checkpoint, or set checkpoint "
            "to the file to score"
        )
        require_checkpoint(checkpoint, network, remedy, EvaluationError)
        logger = logging.getLogger(__name__)
        logger.info(f"{len(self.good)} cases of {self.split} to score")
        for warning in self._sorted.warnings:
            logger.warning(f"{os.fspath(self.dataset_dir)}: {warning.text}")
        for problem in self.failed:
            logger.warning(f"not scored: {problem.text}")

    def finish(self) -> None:
        """Say what was not scored.

        Raises:
            EvaluationError: listing what kept cases from being scored, if anything; all others have their scores.
        """
        if self.failed:
            raise EvaluationError(
                f"{len(self.good)} cases of {self.split} were scored, others were not, for {len(self.failed)} "
                f"problem(s); mend them or take the cases off the list:\n{_lines(self.failed)}"
            )

    @cached_property
    def _sorted(self) -> _Sorted:
        report = inspect_dataset(self.dataset_dir, (self.split,), self.mask_threshold)
        failed = [error for error in report.errors if error.kind in _SINGLE]
        obstacles = [error for error in report.errors if error.kind not in _SINGLE]
        bad = {file for problem in failed for file in problem.files}
        good = [case for case in report.cases.get(self.split, []) if bad.isdisjoint(case.values())]
        return _Sorted(good, failed, obstacles, report.warnings)


def _lines(problems: Sequence[Finding]) -> str:
    return "\n".join(f"  - {problem.text}" for problem in problems)

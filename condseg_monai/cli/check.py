"""Command ``check``: mistakes in a data set, as a table or as JSON."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from condseg_monai.cli.config_options import ConfigCommand, mask_words, read_classes, with_config_options
from condseg_monai.cli.console import heading, say
from condseg_monai.cli.program import PathValue
from condseg_monai.utils.text_tables import text_table

if TYPE_CHECKING:
    from condseg_monai.data.lists.dataset_report import DatasetReport

__all__ = ["command", "report_as_text"]

_COLUMNS = ("split", "cases", "empty", "foreground", "min", "median", "max", "neither", "sizes")


def report_as_text(report: DatasetReport) -> str:
    """A table of the splits, the errors and warnings counted by kind, then each in a line.

    Args:
        report: what :func:`~condseg_monai.data.lists.dataset_report.inspect_dataset` returned.
    """
    classes = ", ".join(f"{name} {value}" for name, value in report.classes.items())
    meaning = f"classes {classes}" if classes else f"foreground is above {report.mask_threshold:g}"
    lines = [f"{report.dataset_dir}, {meaning}", ""]
    if report.summaries:
        lines += [text_table([_COLUMNS, *_rows(report)], left=(0, len(_COLUMNS) - 1)), ""]
        lines += ["empty: masks without foreground; min, median, max: foreground of one image;"]
        lines += ["neither: mask pixels that are neither 0 or 1 nor near 0 or 255", ""]
    if report.summaries and report.classes:
        lines += [text_table([("split", "class", "masks", "pixels"), *_class_rows(report)], left=(0, 1)), ""]
    for title, findings in (("error", report.errors), ("warning", report.warnings)):
        counts = ", ".join(f"{count} {kind}" for kind, count in Counter(f.kind for f in findings).items())
        lines.append(f"{len(findings)} {title}(s)" + (f": {counts}" if counts else ""))
        lines += [f"  - {finding.text}" for finding in findings]
    return "\n".join(lines)


def _rows(report: DatasetReport) -> list[tuple[str, ...]]:
    rows = []
    for split, summary in report.summaries.items():
        sizes = dict.fromkeys(f"{width}x{height}" for width, height in (summary.smallest, summary.largest))
        shares = (
            summary.foreground,
            summary.foreground_min,
            summary.foreground_median,
            summary.foreground_max,
            summary.neither,
        )
        percent = (f"{100 * share:.2f} %" for share in shares)
        rows.append((split, f"{summary.cases}", f"{summary.empty_masks}", *percent, " to ".join(sizes)))
    return rows


def _class_rows(report: DatasetReport) -> list[tuple[str, ...]]:
    return [
        (split, name, f"{numbers.masks}", f"{100 * numbers.share:.2f} %")
        for split, summary in report.summaries.items()
        for name, numbers in summary.classes.items()
    ]


def _next(report: DatasetReport, dataset_dir: Path, fold: int | None, masks: list[str]) -> str:
    from condseg_monai.data.lists.pairing import MASK_SUFFIX

    if suffix := [finding.text for finding in report.errors if finding.kind == MASK_SUFFIX]:
        return f"Next: {suffix[0]}"
    of_fold = [] if fold is None else [f"--fold={fold}"]
    has_lists = "images" not in report.cases
    if len(report.errors) > (not has_lists):  # that there are no lists is one
        title, command = "Next, when that is corrected", "check"
    else:
        title, command = "Next", "train" if has_lists else "split"
        if has_lists and "train" not in report.cases:  # test sets alone
            words = ["condseg", "evaluate", "MODEL", str(dataset_dir), "--split", next(iter(report.cases))]
            return f"{heading(title)}\n  {shlex.join(words)}"
    return f"{heading(title)}\n  {shlex.join(['condseg', command, str(dataset_dir), *of_fold, *masks])}"


@click.command("check", cls=ConfigCommand, short_help="Look for mistakes in a data set.")
@click.argument("dataset_dir", metavar="DIR", type=PathValue())
@with_config_options(("mask_threshold", "mask_suffix", "class_names", "class_values", "fold"))
@click.option("--json", "as_json", is_flag=True, help="print JSON, with all file names, instead of a table")
def command(
    dataset_dir: Path,
    mask_threshold: float | None,
    mask_suffix: str | None,
    class_names: list[str] | None,
    class_values: list[Any] | None,
    fold: int | None,
    as_json: bool,
) -> int:
    """Open every image and mask of a data set and report what is wrong, as training does before it starts.

    DIR has images/, masks/, train.txt and the other lists. The exit code is 1 if there are errors; warnings do not
    count.
    """
    from condseg_monai.data.lists.dataset_report import inspect_dataset
    from condseg_monai.data.lists.pairing import DatasetError, folder_problem

    if mask_threshold is not None and not 0 <= mask_threshold < 255:
        raise ValueError(f"mask_threshold must be in [0, 255), got {mask_threshold:g}")
    if problem := folder_problem(dataset_dir):
        raise DatasetError(problem)
    classes = read_classes(class_names, class_values, mask_threshold)
    report = inspect_dataset(dataset_dir, None, mask_threshold, classes, mask_suffix or "", fold)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        masks = mask_words(mask_threshold, mask_suffix, class_names, class_values)
        say(f"{report_as_text(report)}\n\n{_next(report, dataset_dir, fold, masks)}")
    return 1 if report.errors else 0

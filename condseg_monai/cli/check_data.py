"""Command ``check-data``: mistakes in a data set, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from condseg_monai.data.lists.dataset_report import DatasetReport, inspect_dataset
from condseg_monai.data.lists.pairing import DatasetError, folder_problem
from condseg_monai.utils.text_tables import text_table

__all__ = ["add_command", "report_as_text"]

_COLUMNS = ("split", "cases", "empty", "foreground", "min", "median", "max", "neither", "sizes")


def report_as_text(report: DatasetReport) -> str:
    """A table of the splits, the errors and warnings counted by kind, then each in a line.

    Args:
        report: what :func:`~condseg_monai.data.lists.dataset_report.inspect_dataset` returned.
    """
    lines = [f"{report.dataset_dir}, foreground is above {report.mask_threshold:g}", ""]
    if report.summaries:
        lines += [text_table([_COLUMNS, *_rows(report)], left=(0, len(_COLUMNS) - 1)), ""]
        lines += ["empty: masks without foreground; min, median, max: foreground of one image;"]
        lines += ["neither: mask pixels that are neither 0 or 1 nor near 0 or 255", ""]
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


def add_command(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "check-data",
        help="look for mistakes in a data set",
        description="Open every image and mask of a data set and report what is wrong, as training does before it "
        "starts. The exit code is 1 if there are errors; warnings do not count.",
    )
    parser.add_argument("dataset_dir", type=Path, help="folder with images/, masks/, train.txt and the other lists")
    parser.add_argument("--mask_threshold", type=float, default=127, help="mask values above it are foreground [127]")
    parser.add_argument("--json", action="store_true", help="print JSON, with all file names, instead of a table")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if not 0 <= options.mask_threshold < 255:
        raise ValueError(f"mask_threshold must be in [0, 255), got {options.mask_threshold:g}")
    if problem := folder_problem(options.dataset_dir):
        raise DatasetError(problem)
    report = inspect_dataset(options.dataset_dir, mask_threshold=options.mask_threshold)
    print(json.dumps(report.as_dict(), indent=2) if options.json else report_as_text(report))
    return 1 if report.errors else 0

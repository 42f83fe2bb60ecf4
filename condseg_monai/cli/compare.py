"""Command ``compare``: difference of two evaluations of the same images."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from condseg_monai.reports.comparison import compare_evaluations, find_score_tables
from condseg_monai.reports.summary import json_numbers
from condseg_monai.utils.text_tables import text_table

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "compare",
        help="compare two evaluations image by image",
        description="Compare two evaluations of the same images: for each score the mean difference B - A and its "
        "95 % bootstrap interval over images. An interval on one side of 0 says that the difference is more than the "
        "choice of images; it says nothing of another training run. Images that one of the two reported as failed are "
        "left out and named.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="folder of an evaluation, or its scores_*.csv")
    parser.add_argument("b", type=Path, metavar="B", help="another, of the same images")
    parser.add_argument("--split", help="the split to compare, such as test, of folders that have several")
    parser.add_argument("--common", action="store_true", help="leave out and name all images that one of the two lacks")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    result = compare_evaluations(*find_score_tables(options.a, options.b, options.split), common=options.common)
    if options.json:
        print(json.dumps(json_numbers(result), indent=2))
    else:
        print(f"A  {result['a']}\nB  {result['b']}\n{result['images']} images, each in both\n")
        print(_format(result["scores"]))
        print("\n* the interval is on one side of 0. B better/worse/equal counts images.")
        for note in result["notes"]:
            print(f"note: {note}")
    for one, other in ("AB", "BA"):
        if files := result["left_out"][f"only_in_{one.lower()}"]:
            print(
                f"warning: left out: {len(files)} of the images of {one}, which {other} has no scores for: "
                f"{', '.join(files)}",
                file=sys.stderr,
            )


def _format(scores: dict[str, dict[str, Any]]) -> str:
    rows = [("score", "A", "B", "B - A", "95 % interval", "", "better/worse/equal", "images")]
    for name, score in scores.items():
        interval = score["interval_95"]
        rows.append(
            (
                name + " (lower is better)" * score["lower_is_better"],
                _number(score["mean_a"]),
                _number(score["mean_b"]),
                _number(score["difference"], "+"),
                "-" if interval is None else f"{_number(interval[0], '+')} to {_number(interval[1], '+')}",
                "*" if interval is not None and (interval[0] > 0 or interval[1] < 0) else "",
                f"{score['better']}/{score['worse']}/{score['equal']}",
                str(score["images"]),
            )
        )
    return text_table(rows, left=(0, 5))


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4f}"

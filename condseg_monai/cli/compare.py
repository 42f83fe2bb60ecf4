"""Command ``compare``: differences of evaluations of the same images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from condseg_monai.cli.program import Command, PathValue
from condseg_monai.utils.text_tables import text_table

__all__ = ["command"]

_LETTERS = 25  # B to Z


@click.command("compare", cls=Command, short_help="Compare evaluations image by image.")
@click.argument("a", type=PathValue())
@click.argument("others", metavar="B...", type=PathValue(), nargs=-1, required=True)
@click.option("--split", help="the split to compare, such as test, of folders that have several")
@click.option("--common", is_flag=True, help="leave out and name all images that one of the two lacks")
@click.option("--output_dir", metavar="OUT", type=PathValue(), help="write a page, and tables as Markdown, CSV, LaTeX")
@click.option("--overwrite", is_flag=True, help="replace an earlier comparison in OUT")
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of tables, a list of one for each B")
def command(
    a: Path,
    others: tuple[Path, ...],
    split: str | None,
    common: bool,
    output_dir: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Compare evaluations of the same images with that of A: all are folders, or their scores_*.csv.

    For each score it gives the mean difference B - A and its 95 % bootstrap interval over images. An interval on one
    side of 0 says that the difference is more than the choice of images; it says nothing of another training run.
    Images that one of the two reported as failed are left out and named.
    """
    from condseg_monai.reports.comparison import compare_evaluations, find_score_tables
    from condseg_monai.reports.comparison_files import write_comparison
    from condseg_monai.reports.summary import json_numbers

    if len(others) > _LETTERS:
        raise click.BadParameter(f"{len(others)} evaluations are too many for one table: give {_LETTERS} at most")
    results = [compare_evaluations(*find_score_tables(a, b, split), common=common) for b in others]
    written = {} if output_dir is None else write_comparison(results, output_dir, overwrite)
    if as_json:
        click.echo(json.dumps(json_numbers(results), indent=2))
    else:
        click.echo("\n\n".join(map(_text, results)))
        click.echo("\n* the interval is on one side of 0. B better/worse/equal counts images.")
    for result in results:
        for one, other in ("AB", "BA"):
            if files := result["left_out"][f"only_in_{one.lower()}"]:
                click.echo(
                    f"warning: left out: {len(files)} of the images of {one}, which {other} has no scores for: "
                    f"{', '.join(files)}",
                    err=True,
                )
    for kind, path in written.items():
        click.echo(f"{kind:4s}  {path}", err=as_json)


def _text(result: dict[str, Any]) -> str:
    head = f"A  {result['a']}\nB  {result['b']}\n{result['images']} images, each in both\n"
    return "\n".join([head, _format(result["scores"]), *(f"note: {note}" for note in result["notes"])])


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

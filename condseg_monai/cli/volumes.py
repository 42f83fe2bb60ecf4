"""Command ``score-volumes``: scores of predicted label volumes, organ by organ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from condseg_monai.cli.console import say
from condseg_monai.cli.program import Command, PathValue, start_work
from condseg_monai.utils.options import OPTIONS
from condseg_monai.utils.text_tables import text_table

__all__ = ["command"]

_BTCV = "btcv"


@click.command("score-volumes", cls=Command, short_help="Score predicted label volumes, organ by organ.")
@click.argument("pred", type=PathValue(exists=True))
@click.argument("label", type=PathValue(exists=True))
@click.option("--output_dir", type=PathValue(), required=True, help="folder of the report")
@click.option(
    "--source_labels",
    type=click.Choice((_BTCV, *OPTIONS["organ_order"].choices)),
    help="which organ each number of the true labels is",
)
@click.option("--class_names", metavar="A,B,...", help="or the organs' names, background first")
@click.option(
    "--checkpoint",
    type=PathValue(),
    help="tells the predictions' classes where inference.json does not",
)
@click.option("--images", type=PathValue(), help="the CT volumes, for the pictures")
@click.option(
    "--empty_distance",
    type=click.Choice(OPTIONS["empty_distance"].choices),
    default="diagonal",
    show_default=True,
    help="HD95 of a missed organ",
)
@click.option("--name", default="volumes", show_default=True, help="ends the names of the report's files")
@click.option("--overwrite", is_flag=True, help="replace an earlier report of this name")
@click.pass_context
def command(
    ctx: click.Context,
    pred: Path,
    label: Path,
    output_dir: Path,
    source_labels: str | None,
    class_names: str | None,
    checkpoint: Path | None,
    images: Path | None,
    empty_distance: str,
    name: str,
    overwrite: bool,
) -> int:
    """Score predicted label volumes PRED against true ones LABEL: NIfTI files, or folders of them.

    It gives Dice and HD95 in millimetres with a stated rule for missed organs, and beside them TransUNet's numbers, and
    writes a table, a summary and a report. Files belong together that have one name: label0001 and img0001, x and
    x_0000.
    """
    if (source_labels is None) == (class_names is None):
        raise click.UsageError("give one of --source_labels and --class_names: what the true labels' numbers are")
    start_work(ctx, "nothing was written; start again")
    from condseg_monai.reports.volume_scoring import predicted_classes, score_volumes

    names, context = predicted_classes(pred, checkpoint)
    summary = score_volumes(
        pred,
        label,
        names,
        _true_classes(source_labels, class_names),
        output_dir,
        name,
        images,
        empty_distance,
        context=context,
        overwrite=overwrite,
    )
    click.echo(_format(summary))
    click.echo(f"\n{output_dir / f'report_{name}.html'}")
    for path, reason in summary["failed"].items():
        say(f"error: {path}: {reason}", err=True)
    return int(bool(summary["failed"]))


def _true_classes(source_labels: str | None, class_names: str | None) -> tuple[str, ...]:
    from condseg_monai.data.ct.synapse import BTCV_ORGANS, synapse_class_names

    if class_names is not None:
        return tuple(name.strip() for name in class_names.split(","))
    return ("background", *BTCV_ORGANS) if source_labels == _BTCV else synapse_class_names(str(source_labels))


def _format(summary: Mapping[str, Any]) -> str:
    from condseg_monai.metrics.volume_scores import VOLUME_SCORES

    scores = {organ: [found[name]["mean"] for name in VOLUME_SCORES] for organ, found in summary["organs"].items()}
    scores["mean"] = [summary["mean"][name] for name in VOLUME_SCORES]
    cells = [(row, *("-" if value is None else f"{value:.4f}" for value in values)) for row, values in scores.items()]
    rows = [("organ", *VOLUME_SCORES), *cells]
    return f"{summary['volumes']} volumes\n\n{text_table(rows)}"

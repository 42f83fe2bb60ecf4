"""Command ``score-volumes``: scores of predicted label volumes, organ by organ."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from condseg_monai.data.ct.synapse import BTCV_ORGANS, SYNAPSE_ORGANS, synapse_class_names
from condseg_monai.metrics.surface_distance import EMPTY_DISTANCES
from condseg_monai.metrics.volume_scores import VOLUME_SCORES
from condseg_monai.reports.volume_scoring import predicted_classes, score_volumes
from condseg_monai.utils.text_tables import text_table

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "score-volumes",
        help="score predicted label volumes, organ by organ",
        description="Score what inference_synapse.json wrote against true label volumes: Dice and HD95 in millimetres "
        "with a stated rule for missed organs, and beside them TransUNet's numbers. Writes a table, a summary, a page.",
    )
    parser.add_argument("pred", type=Path, help="predicted label volumes: a NIfTI file or a folder")
    parser.add_argument("label", type=Path, help="true label volumes, named alike or with the same numbers")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of the report")
    labels = parser.add_mutually_exclusive_group(required=True)
    labels.add_argument(
        "--source_labels", choices=("btcv", *SYNAPSE_ORGANS), help="which organ each number of the true labels is"
    )
    labels.add_argument("--class_names", help="or its names, with commas, background first")
    parser.add_argument("--checkpoint", type=Path, help="tells the predictions' classes where inference.json does not")
    parser.add_argument("--images", type=Path, help="the CT volumes, for the pictures")
    parser.add_argument("--empty_distance", choices=EMPTY_DISTANCES, default="diagonal", help="HD95 of a missed organ")
    parser.add_argument("--name", default="volumes", help="ends the names of the report's files")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier report of this name")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    names, context = predicted_classes(options.pred, options.checkpoint)
    summary = score_volumes(
        options.pred,
        options.label,
        names,
        _true_classes(options),
        options.output_dir,
        options.name,
        options.images,
        options.empty_distance,
        context=context,
        overwrite=options.overwrite,
    )
    print(_format(summary))
    print(f"\n{options.output_dir / f'report_{options.name}.html'}")
    for path, reason in summary["failed"].items():
        print(f"error: {path}: {reason}", file=sys.stderr)
    return int(bool(summary["failed"]))


def _true_classes(options: argparse.Namespace) -> tuple[str, ...]:
    if options.class_names is not None:
        return tuple(name.strip() for name in options.class_names.split(","))
    return (
        ("background", *BTCV_ORGANS) if options.source_labels == "btcv" else synapse_class_names(options.source_labels)
    )


def _format(summary: Mapping[str, Any]) -> str:
    scores = {organ: [found[name]["mean"] for name in VOLUME_SCORES] for organ, found in summary["organs"].items()}
    scores["mean"] = [summary["mean"][name] for name in VOLUME_SCORES]
    cells = [(row, *("-" if value is None else f"{value:.4f}" for value in values)) for row, values in scores.items()]
    rows = [("organ", *VOLUME_SCORES), *cells]
    return f"{summary['volumes']} volumes\n\n{text_table(rows)}"

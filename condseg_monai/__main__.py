"""``python -m condseg_monai COMMAND``: the project's own commands, beside those of ``python -m monai.bundle``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from condseg_monai.checkpoints.convert_checkpoint import add_command as add_convert_checkpoint
from condseg_monai.data.check_data import add_command as add_check_data
from condseg_monai.data.prepare import add_command as add_prepare
from condseg_monai.reports.compare import add_command as add_compare
from condseg_monai.reports.score_volumes import add_command as add_score_volumes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 if it did what was asked, 1 if not, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m condseg_monai", description="Commands of condseg_monai.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_check_data(commands)
    add_compare(commands)
    add_convert_checkpoint(commands)
    add_prepare(commands)
    add_score_volumes(commands)
    options = parser.parse_args(arguments)
    try:
        code: int | None = options.run(options)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code or 0


if __name__ == "__main__":
    sys.exit(main())

"""Command ``convert-checkpoint``: a released checkpoint as one the bundle loads."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from condseg_monai.networks.released.condseg import RELEASED_MODELS
from condseg_monai.networks.released.conversion import convert_checkpoint

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "convert-checkpoint",
        help="convert a released checkpoint",
        description="Convert a released checkpoint. The result expects its input as the released code gave it: run the "
        "bundle with --normalization released and, for stage 2, --cdfa released; DEC-Seg with configs/dec_seg.json.",
    )
    parser.add_argument("source", type=Path, help="released .pth file")
    parser.add_argument("target", type=Path, help="file to write, for example bundle/models/model.pt")
    parser.add_argument("--model", required=True, choices=RELEASED_MODELS, help="what the released file holds")
    parser.add_argument("--overwrite", action="store_true", help="replace the target if it exists")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    convert_checkpoint(options.source, options.target, options.model, options.overwrite)
    print(f"{options.target}: {options.model}, every released key used")

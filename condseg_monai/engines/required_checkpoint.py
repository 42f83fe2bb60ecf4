"""The checkpoint that a run cannot do without."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from condseg_monai.networks.state_dicts import check_checkpoint

__all__ = ["require_checkpoint"]


def require_checkpoint(
    checkpoint: str | os.PathLike[str], network: nn.Module | None, remedy: str, error: type[Exception]
) -> None:
    """Raise unless a checkpoint is there and fits.

    Args:
        checkpoint: the file.
        network: what it will be loaded into; ``None`` does not look whether it fits.
        remedy: what to do where there is no such file.
        error: what to raise.
    """
    if not Path(checkpoint).is_file():
        raise error(f"{checkpoint} is missing: {remedy}")
    if network is not None:
        try:
            check_checkpoint(checkpoint, network)
        except ValueError as misfit:
            raise error(str(misfit)) from misfit

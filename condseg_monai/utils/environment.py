"""Environment of a run: versions and hardware, for its record."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from condseg_monai.version import __version__

__all__ = ["describe_environment"]

_PACKAGES = (
    "torch",
    "monai",
    "pytorch-ignite",
    "numpy",
    "kornia",
    "pillow",
    "nibabel",
    "scikit-image",
    "tensorboard",
    "transformers",
)


def describe_environment() -> dict[str, Any]:
    """Name the versions and the hardware of this process.

    Returns:
        ``command``, ``python``, ``platform``, ``condseg_monai`` (its version), ``commit`` (of the repository it is
        imported from, with ``+changes`` if that has uncommitted ones; None if it is installed), ``packages``
        (versions; absent ones left out), ``cpu_count``, ``cuda``, ``gpus`` (names) and ``processes`` (of a
        distributed run).
    """
    import ignite.distributed as idist  # takes seconds, and the command line does without
    import torch

    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "condseg_monai": __version__,
        "commit": _commit(Path(__file__).resolve().parents[1]),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "cpu_count": os.cpu_count(),
        "cuda": torch.version.cuda,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "processes": idist.get_world_size(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit(package_dir: Path) -> str | None:
    # A package installed into an environment inside somebody's repository is not of that repository.
    if _git(package_dir, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git(package_dir, "rev-parse", "HEAD")
    if commit is None:
        return None
    return f"{commit}+changes" if _git(package_dir, "status", "--porcelain", "--untracked-files=no") else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()

"""Read state_dicts from files, and compare them with a network."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from condseg_monai.utils.files import check_archive

__all__ = ["describe_differences", "name_keys", "optional_path", "read_state_dict"]


def optional_path(path: str | os.PathLike[str] | None) -> Path | None:
    """Return a path, or ``None`` for ``None`` and for the word ``null``, as MONAI's command line hands over null."""
    return None if path is None or str(path) in ("null", "None") else Path(path)


def name_keys(keys: Iterable[str], limit: int = 12) -> str:
    """List keys in order, the first ``limit`` by name: ``[a, b, ... 3 more]``."""
    names = sorted(keys)
    more = [f"... {len(names) - limit} more"] if len(names) > limit else []
    return f"[{', '.join(names[:limit] + more)}]"


def read_state_dict(
    path: str | os.PathLike[str], what: str, wrappers: Sequence[str] = ("model",), content: bytes | None = None
) -> Mapping[str, Tensor]:
    """Read a file of named tensors onto the CPU.

    Args:
        path: a file that ``torch.save`` wrote: a state_dict, alone or under one of ``wrappers``.
        what: the argument that names the file, for errors.
        wrappers: keys under which a state_dict may lie, also one in the other in this order.
        content: of the file, if it was read already.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, holds something else or values that are not finite; the message names the file.
    """
    try:
        with Path(path).open("rb") if content is None else BytesIO(content) as stream:
            if zipfile.is_zipfile(stream):
                with zipfile.ZipFile(stream) as archive:
                    check_archive(archive.infolist(), stream.seek(0, os.SEEK_END))
            stream.seek(0)
            loaded = torch.load(stream, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # unpickling raises a dozen kinds, none of which names the file
        raise ValueError(
            f"{what}: {os.fspath(path)} is damaged or no PyTorch file of plain tensors ({load_failure(error)}); give "
            "another"
        ) from error
    for wrapper in wrappers:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()
    ):
        raise ValueError(f"{what}: {os.fspath(path)} holds no state_dict but {type(loaded).__name__}; give another")
    for key, value in loaded.items():
        try:
            is_finite = not value.is_complex() and bool(torch.isfinite(value).all())
        except RuntimeError as error:  # sparse, quantised, without values, or larger than the memory
            reason = str(error).partition("\n")[0].partition(". ")[0]
            raise ValueError(
                f"{what}: {os.fspath(path)} holds no plain numbers in {key} ({reason}); give another"
            ) from error
        if not is_finite:
            raise ValueError(
                f"{what}: {os.fspath(path)} holds values that are not finite numbers, in {key} for one; give another"
            )
    return loaded


def load_failure(error: Exception) -> str:
    """Say why ``torch.load(weights_only=True)`` failed, without PyTorch's advice to load what may run code."""
    blocked = re.search(r"(?:Unsupported global: GLOBAL|unsupported GLOBAL) (\S+)", str(error))
    if blocked is not None:
        return f"it holds {blocked[1]}, which is not loaded, since it could run code"
    if "weights_only" in str(error):
        return "it holds more than tensors, which is not loaded, since it could run code"
    return f"{type(error).__name__}: {error}"


def describe_differences(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Name the keys that keep tensors from being loaded: missing, unknown, of other shapes; nothing if all fit."""
    missing, unknown = expected.keys() - found.keys(), found.keys() - expected.keys()
    shapes = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected.keys() & found.keys()
        if found[key].shape != expected[key].shape
    ]
    if not (missing or unknown or shapes):
        return ""
    return f"missing keys {name_keys(missing)}, unknown keys {name_keys(unknown)}, other shapes {name_keys(shapes)}"

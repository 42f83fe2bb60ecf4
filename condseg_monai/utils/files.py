"""Atomic file writing, and hashes of files."""

from __future__ import annotations

import glob
import hashlib
import io
import json
import os
import secrets
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    *("atomic_write", "check_archive", "file_sha256", "read_json_object", "remove_unfinished"),
    *("write_checkpoint", "write_json"),
]

_LONGEST_NAME = 240  # bytes; a file's name has 255, of which an unfinished one takes up to ten more
_MAX_UNPACKED = 4  # weights do not shrink, and torch.save does not pack them


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file so that a reader sees the old one or the whole new one.

    Args:
        path: the file to write; its folder is made if missing.

    Yields:
        A path in the same folder to write to. It becomes ``path`` when the block ends, and goes if the block fails.

    Raises:
        OSError: if it cannot be written, the disk being full for one; the message names the file.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The name before the file: Ctrl-C while the system makes one of its own (mkstemp) leaves a file that nobody knows.
    temporary = target.with_name(unfinished_prefix(target) + secrets.token_hex(4))
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(target)
    except OSError as error:
        if error.filename is not None:
            raise
        reason = f"{target} cannot be written: {error.strerror or error}"
        raise (OSError(reason) if error.errno is None else OSError(error.errno, reason)) from error
    finally:
        temporary.unlink(missing_ok=True)


def unfinished_prefix(path: str | os.PathLike[str]) -> str:
    """How the names of unfinished files of a path start; short enough where its own name is as long as can be."""
    name = os.fsencode(Path(path).name)
    return "." + os.fsdecode(name if len(name) <= _LONGEST_NAME else name[-_LONGEST_NAME:]) + "."


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON atomically, indented; what JSON cannot hold (a path, a device) is written as text.

    Args:
        path: the file to write.
        content: anything made of dicts, lists and scalars.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON object; a ValueError names a file that is none."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)} is damaged or no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{os.fspath(path)} holds no JSON object but {type(content).__name__}")
    return content


def write_checkpoint(path: str | os.PathLike[str], content: Any) -> None:
    """Write a checkpoint atomically, to the disk and not only to the system's cache.

    Args:
        path: the file to write.
        content: tensors and plain values, as ``torch.load(weights_only=True)`` reads them.

    Raises:
        OSError: if it cannot be written, the disk being full for one. The checkpoint before is whole, then.
    """
    import torch  # takes seconds, and the command line does without

    try:
        # In memory first: Ctrl-C while torch.save writes to a file may be lost, or end the process without a word.
        buffer = io.BytesIO()
        torch.save(content, buffer)
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            stream.write(buffer.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        before = "the one before it is whole and stays" if Path(path).is_file() else "there is none before it"
        raise OSError(
            error.errno,
            f"the checkpoint {path} could not be written: {error.strerror or error}; {before}. "
            "Make room and continue with --resume true",
        ) from error


def remove_unfinished(path: str | os.PathLike[str]) -> list[Path]:
    """Remove what :func:`atomic_write` left behind where a process was killed while it wrote ``path``.

    Args:
        path: a file that no process is writing now.

    Returns:
        The removed files.
    """
    target = Path(path)
    prefix = unfinished_prefix(target)
    unfinished = [
        file for file in target.parent.glob(f"{glob.escape(prefix)}*") if file.name.rpartition(".")[0] == prefix[:-1]
    ]
    for file in unfinished:
        file.unlink(missing_ok=True)
    return unfinished


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_archive(members: Iterable[zipfile.ZipInfo], size: int) -> None:
    """Refuse an archive of weights that unpacks to far more than its size in bytes: megabytes may hold gigabytes."""
    unpacked = sum(member.file_size for member in members)
    if unpacked > _MAX_UNPACKED * size:
        raise ValueError(f"it unpacks to {unpacked} bytes, more than {_MAX_UNPACKED} times its size")

"""Record of an output folder: what each file was made of, so that only files of the same making are kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from condseg_monai.utils.files import file_sha256, read_json_object, write_json

__all__ = ["OutputError", "OutputRecord", "Source", "content_sha256", "has_record"]

_NAME = "inference.json"
_REMEDY = "give another --output_dir, or make it again with --overwrite true"


class OutputError(ValueError):
    """An output folder with a file that this run may neither keep nor replace; the message names it and the remedy."""


class Source(NamedTuple):
    """An input, and the SHA-256 of its content."""

    path: str
    sha256: str


class OutputRecord:
    """What each file of an output folder was made of: ``inference.json`` in it.

    It names runs (weights and settings) and by file the source, the run and, once it is done, the SHA-256 of what was
    written. Files are in it before they are written, so that those of a killed run are known as its own.

    Args:
        folder: of the outputs.
        made_by: weights and settings of this run, JSON-ready; the path of the weights does not count.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any]) -> None:
        self.folder, self.path = folder, folder / _NAME
        self.made_by = json.loads(json.dumps(made_by))
        self._lock = FileLock(folder / f".{_NAME}.lock")
        self._runs: list[dict[str, Any]] = []
        self._files: dict[str, dict[str, Any]] = {}

    def claim(self) -> None:
        """Read the record and keep other processes out of the folder until :meth:`finish`.

        Raises:
            OutputError: if another run writes there, or the record cannot be read.
            OSError: if the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise OutputError(
                f"another run is writing to output_dir {self.folder}: wait for it or give another folder"
            ) from error
        except OSError as error:
            raise OutputError(f"output_dir {self.folder} cannot be written: {error}; give another folder") from error
        if not self.path.is_file():
            return
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            self._runs, self._files = list(content["runs"]), dict(content["files"])
            for entry in self._files.values():
                _ = self._runs[entry["run"]], entry["sha256"]
        except (OSError, ValueError, TypeError, KeyError, IndexError, RecursionError):
            self._runs, self._files = [], {}  # of an earlier version, or no record: no file is known then

    def refuse_others(self, files: Mapping[Path, Source]) -> None:
        """Refuse files that are there but of another source, other weights or other settings.

        Raises:
            OutputError: naming the first such file, and what differs.
        """
        for path, source in files.items():
            if path.is_file() and (reason := self._difference(path, source)):
                raise OutputError(f"{path} is there already and {reason}; {_REMEDY}")

    def begin(self, files: Mapping[Path, Source]) -> None:
        """Record what this run will make, before the first file."""
        made_by = self.made_by
        known = [run for run in self._runs if _essence(run) == _essence(made_by)]
        if not known:
            self._runs.append(made_by)
        run = self._runs.index(known[0] if known else made_by)
        self._files |= {
            self._key(path): {**self._kept_hash(path), "source": source.path, "sha256": source.sha256, "run": run}
            for path, source in files.items()
        }
        self._write({})

    def finish(self, **record: Any) -> None:
        """Write the record with what came of the run, and let others into the folder."""
        try:
            for name, entry in self._files.items():
                if "output_sha256" not in entry and (self.folder / name).is_file():
                    entry["output_sha256"] = file_sha256(self.folder / name)
            self._write(record)
        finally:
            self.release()

    def release(self) -> None:
        """Let others into the folder."""
        self._lock.release()

    def _write(self, record: Mapping[str, Any]) -> None:
        write_json(self.path, {**self.made_by, **record, "runs": self._runs, "files": self._files})

    def _difference(self, path: Path, source: Source) -> str:
        """Say how a file was made otherwise than it would be now; nothing if it was not."""
        entry = self._files.get(self._key(path))
        if entry is None:
            return f"{self.path.name} beside it does not say what it was made of"
        if entry["sha256"] != source.sha256:
            return f"was made of another file, {entry.get('source')}, not of {source.path} as it is now"
        # of a killed run, or an earlier version, nobody knows what was written
        if "output_sha256" in entry and entry["output_sha256"] != file_sha256(path):
            return "was changed since it was written"
        made, now = self._runs[entry["run"]], self.made_by
        if made.get("checkpoint_sha256") != now.get("checkpoint_sha256"):
            return f"is of other weights, {made.get('checkpoint')}, not of {now.get('checkpoint')}"
        was, is_now = made.get("settings", {}), now.get("settings", {})
        names = [name for name in {**was, **is_now} if was.get(name) != is_now.get(name)]
        words = (f"{name} {was.get(name)} instead of {is_now.get(name)}" for name in names)
        return f"was made with {', '.join(words)}" if names else ""

    def _kept_hash(self, path: Path) -> dict[str, str]:
        """The hash of an output that is kept, as it was recorded; none of one that is made now."""
        entry = self._files.get(self._key(path), {}) if path.is_file() else {}
        return {"output_sha256": entry["output_sha256"]} if "output_sha256" in entry else {}

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def has_record(folder: Path) -> bool:
    """Whether a folder has the record of a run that wrote its outputs there."""
    try:
        return "checkpoint_sha256" in read_json_object(folder / _NAME)
    except (OSError, ValueError):
        return False


def content_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, or of the names and contents of the files in a folder, a DICOM series."""
    source = Path(path)
    if not source.is_dir():
        return file_sha256(source)
    digest = hashlib.sha256()
    for file in sorted(file for file in source.iterdir() if file.is_file()):
        digest.update(f"{file.name}\0{file_sha256(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _essence(run: Mapping[str, Any]) -> tuple[Any, Any]:
    return run.get("checkpoint_sha256"), run.get("settings")

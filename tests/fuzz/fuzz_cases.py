"""Fuzz the readers of NIfTI, DICOM, slices, lists, checkpoints and model cards, and count the outcomes.

    .venv/bin/python -m tests.fuzz.fuzz_cases --count 500

Sound files of each kind are truncated, flipped, spliced and zeroed, by a seed. Every one must be read, or end in a
``ValueError`` or ``OSError`` that names it: a crash or a hang ends the run with the file's name; any other exception,
values that are no numbers and more than ``MEMORY_LIMIT_MIB`` of memory are counted, and the exit code is 1. Linux only.
"""

from __future__ import annotations

import argparse
import gzip
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator

from condseg_monai.data.ct.slices import read_slice
from condseg_monai.data.ct.volume import axial_slices
from condseg_monai.data.ct.volume_list import list_volumes, read_volume
from condseg_monai.data.lists.pairing import find_cases
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.networks.state_dicts import read_state_dict
from tests.bundle.models import save_model
from tests.ct import AFFINE, phantom, turned, write_dicom, write_h5, write_nifti
from tests.fuzz.fuzz_intake import limit_memory
from tests.fuzz.outcomes import Outcomes

GOOD = ("read", "error")


class Kind(NamedTuple):
    """One kind of file.

    Attributes:
        files: sound ones, of which one is damaged.
        read: reads all that depends on them, and raises if a value is none.
    """

    files: list[Path]
    read: Callable[[Path], None]


def sound_kinds(folder: Path) -> dict[str, Kind]:
    """Write sound files of every kind into a folder."""
    image, label = phantom()
    for name in ("plain.nii", "packed.nii.gz"):
        write_nifti(folder / name, image, AFFINE)
    series = write_dicom(folder / "series", *turned(image, AFFINE, "LPS"))
    slices = axial_slices(image, AFFINE), axial_slices(label, AFFINE)
    np.savez_compressed(folder / "slice.npz", image=slices[0][4].clip(0, 1).astype(np.float32), label=slices[1][4])
    write_h5(folder / "volume.npy.h5", *slices)
    for name in ("images/a.png", "masks/a.png"):
        (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "set" / name).touch()
    (folder / "set" / "train.txt").write_text("a\nb\u00e9.png\r\nc/d\n", encoding="utf-8")
    model = save_model(folder / "model", "unet") / "models"
    return {
        "nifti": Kind([folder / "plain.nii", folder / "packed.nii.gz"], _read_volume),
        "dicom": Kind(series[:3], _read_series),
        "npz": Kind([folder / "slice.npz"], _read_slice),
        "h5": Kind([folder / "volume.npy.h5"], _read_volume),
        "list": Kind([folder / "set" / "train.txt"], _read_list),
        "checkpoint": Kind([model / "model.pt"], _read_checkpoint),
        "card": Kind([model / "model.json"], _read_card),
    }


def damage(content: bytes, rng: Generator) -> bytes:
    """Truncate, change, splice or zero a file; of a gzip archive half of the time what is in it."""
    if content[:2] == b"\x1f\x8b" and rng.random() < 0.5:
        return gzip.compress(damage(gzip.decompress(content), rng), compresslevel=1)
    start, end = sorted(rng.integers(0, len(content) + 1, 2))
    how = rng.integers(6)
    if how == 0:
        return content[:start]
    if how == 1:
        return content[:start] + bytes(int(end - start)) + content[end:]
    if how == 2:
        return content[:start] + content[end:]
    if how == 3:
        return content[:end] + content[start:]
    changed = bytearray(content)
    reach = min(len(content), 400) if how == 4 else len(content)  # headers
    for position in rng.integers(0, reach, rng.integers(1, 31)):
        changed[position] = rng.integers(256)
    return bytes(changed)


def outcome_of(kind: Kind, path: Path) -> str:
    """``"read"``, ``"error"`` for a clean one, or what was wrong with the reader of a damaged file."""
    try:
        kind.read(path)
    except (ValueError, OSError) as error:
        text = str(error)
        return "error" if path.name in text or str(path.parent) in text else f"no name: {type(error).__name__} {text}"
    except Exception as error:
        return f"unexpected {type(error).__name__}: {error}"
    return "read"


def _read_volume(path: Path) -> None:
    volume = read_volume(path)
    _check(volume.array.ndim == 3)
    axial_slices(volume.array, volume.affine)
    volume.hounsfield(volume.array[:, :, 0])


def _read_series(path: Path) -> None:
    found = list_volumes(path.parent)
    _check(len(found) == 1)
    volume = read_volume(found[0][1])
    _check(len(volume.slice_files) == volume.array.shape[2] == len(list(path.parent.iterdir())))


def _read_slice(path: Path) -> None:
    image, label = read_slice(path)
    _check(image.shape == label.shape and image.dtype == np.float32 and label.dtype == np.uint8)


def _read_list(path: Path) -> None:
    pairing = find_cases(path.parent, ("train",))
    lines = len(pairing.cases["train"]) + len(pairing.problems)
    _check(lines > 0)  # never nothing without a word


def _read_checkpoint(path: Path) -> None:
    _check(all(bool(torch.isfinite(value).all()) for value in read_state_dict(path, "checkpoint").values()))


def _read_card(path: Path) -> None:
    ModelCard.read(path)


def _check(holds: bool) -> None:
    if not holds:
        raise AssertionError("silent loss")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print the count of each outcome; 1 if any file did worse than a clean error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=500, help="files of each kind [500]")
    parser.add_argument("--seed", type=int, default=0, help="of the files [0]")
    parser.add_argument("--kinds", nargs="*", help="of files [all]")
    parser.add_argument("--timeout_s", type=float, default=60, help="for one file [60]")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    outcomes = Outcomes(GOOD, options.seed, options.timeout_s)
    with tempfile.TemporaryDirectory(prefix="fuzz_cases_") as name:
        for kind_name, kind in sound_kinds(Path(name)).items():
            if kind_name not in (options.kinds or [kind_name]):
                continue
            for index in range(options.count):
                rng = np.random.default_rng((options.seed, index))
                path = kind.files[rng.integers(len(kind.files))]
                sound = path.read_bytes()
                path.write_bytes(damage(sound, rng))
                outcomes.note(kind_name, f"{index} {path.name}", partial(outcome_of, kind, path))
                path.write_bytes(sound)
    return outcomes.report()


if __name__ == "__main__":
    logging.disable()  # here, since tests call main
    limit_memory()
    sys.exit(main())

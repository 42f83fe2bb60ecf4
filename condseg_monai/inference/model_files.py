"""Find a trained model: a checkpoint, a run folder, a bundle folder or zip, or the name of a model in the bundle."""

from __future__ import annotations

import atexit
import difflib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from condseg_monai.networks.model_card import card_path
from condseg_monai.utils.bundle_path import bundle_dir
from condseg_monai.utils.files import check_archive

__all__ = ["bundle_checkpoint", "default_checkpoint", "find_model", "shipped_models"]

_CHECKPOINT = "model.pt"


def find_model(model: str | os.PathLike[str]) -> Path:
    """Return the checkpoint of a model; its card is beside it (``card_path``).

    Args:
        model: a checkpoint; the folder of a training run or of a bundle, with ``models/model.pt`` or ``model.pt`` in
            it; a zip of a bundle, of which the checkpoint and its card are unpacked to a temporary folder, and nothing
            else is read; or the name of a model that comes with the bundle.

    Raises:
        FileNotFoundError: if there is none; the message says what is there.
        ValueError: if it is empty text, the zip is damaged or has no such file, or the file is no checkpoint by its
            name.
    """
    if model == "":  # Path takes it for the current folder
        raise ValueError("model is empty: give a .pt file, the folder of a run or bundle, or a zip")
    path = Path(model)
    if path.is_dir():
        for file in (path / "models" / _CHECKPOINT, path / _CHECKPOINT):
            if file.is_file():
                return file
        others = sorted(
            str(file.relative_to(path)) for folder in ("", "models") for file in (path / folder).glob("*.pt")
        )
        if (path / "fold_0").is_dir():
            raise FileNotFoundError(f"model {path} has folds: give one of them, {path / 'fold_0'}, or evaluate --folds")
        there = f"; there are {', '.join(others)}: give one of these files" if others else ""
        raise FileNotFoundError(
            f"model {path} is a folder without models/{_CHECKPOINT} or {_CHECKPOINT}{there or ': give that of a run'}"
        )
    if path.suffix.lower() == ".zip" and path.is_file():
        return _unpack(path)
    if path.is_file():
        if path.suffix not in (".pt", ".pth"):
            raise ValueError(f"model {path} is no checkpoint: give a .pt file, a run or bundle folder, or a zip")
        return path
    shipped = shipped_models()
    if str(model) in shipped:
        return shipped[str(model)]
    near = difflib.get_close_matches(str(model), shipped, n=1)
    if not near and path.parent.is_dir():
        names = [file.name for file in path.parent.iterdir()]
        near = [str(path.parent / name) for name in difflib.get_close_matches(path.name, names, n=1, cutoff=0.8)]
    hint = f" (did you mean {near[0]}?)" if near else ""
    has = f"; the bundle has {', '.join(shipped)}" if shipped else ""
    raise FileNotFoundError(
        f"model {model} does not exist{hint}: give a .pt file, the folder of a run or bundle, or a zip{has}"
    )


def bundle_checkpoint(bundle_root: str | os.PathLike[str], ckpt_dir: str | os.PathLike[str]) -> str:
    """``model.pt`` of a bundle, for ``train.json``, which ``monai.bundle.load`` reads in whatever folder it is called.

    Raises:
        ValueError: if ``bundle_root`` is not a bundle: the model's card would not be found, and weights would be copied
            into another network.
    """
    root = Path(bundle_root)
    if Path(ckpt_dir) == root / "models" and not (root / "configs" / "train.json").is_file():
        raise ValueError(
            f"bundle_root {bundle_root} is not a bundle, for it has no configs/train.json: give --bundle_root, work in "
            "the bundle's folder, or make a bundle of the model by condseg pack, which monai.bundle.load opens from "
            "anywhere"
        )
    return str(Path(ckpt_dir) / _CHECKPOINT)


def default_checkpoint(ckpt_dir: str | os.PathLike[str]) -> str:
    """``model.pt`` of a training in a folder or, where there is none, ``condseg_polyp.pt``, which the bundle's has."""
    own, shipped = Path(ckpt_dir) / _CHECKPOINT, Path(ckpt_dir) / "condseg_polyp.pt"
    return str(shipped if shipped.is_file() and not own.is_file() else own)


def shipped_models() -> dict[str, Path]:
    """The checkpoints with a model card that come with the bundle, by name."""
    folder = bundle_dir() / "models"
    return {file.stem: file for file in sorted(folder.glob("condseg_*.pt")) if card_path(file).is_file()}


def _unpack(path: Path) -> Path:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name: PurePosixPath(name) for name in archive.namelist()}
            found = [name for name, parts in names.items() if parts.parts[-2:] == ("models", _CHECKPOINT)]
            if len(found) != 1:
                raise ValueError(f"it has {len(found)} files models/{_CHECKPOINT}: give a zip of one bundle")
            folder = Path(tempfile.mkdtemp(prefix=f"{path.stem}_"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            for name in (found[0], str(names[found[0]].with_suffix(".json"))):
                if name in names:
                    check_archive([archive.getinfo(name)], path.stat().st_size)
                    with archive.open(name) as source, (folder / names[name].name).open("wb") as target:
                        shutil.copyfileobj(source, target)
    except Exception as error:  # zlib's, an encrypted one's RuntimeError, and others
        raise ValueError(f"model {path} cannot be read as a zip of a bundle: {error}") from error
    return folder / _CHECKPOINT

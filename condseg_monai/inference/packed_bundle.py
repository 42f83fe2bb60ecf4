"""Pack a trained model into a MONAI bundle of its own, whose configs have the model's values."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ckpt_export
from torch import nn

from condseg_monai.inference.model_files import find_model
from condseg_monai.inference.required_checkpoint import RequiredCheckpoint
from condseg_monai.networks.methods import network_of
from condseg_monai.networks.model_card import ModelCard, card_path
from condseg_monai.utils.bundle_path import bundle_dir
from condseg_monai.utils.command_line import config_value
from condseg_monai.utils.files import file_sha256, write_checkpoint, write_json
from condseg_monai.utils.method_files import training_files
from condseg_monai.utils.options import CARD_OPTIONS
from condseg_monai.version import __version__

__all__ = ["half_weights", "load_model", "pack_bundle"]

_MARK = "condseg_pack"
# Of CT, MONAI transforms around a network of volumes: what other programs can run without this package's own evaluator.
_INFERENCE = {"image": "inference", "ct": "inference_ct"}
_LARGE_BYTES = 25_000_000  # what the Model Zoo takes in its repository


def load_model(model: str | os.PathLike[str]) -> tuple[Path, ModelCard, nn.Module]:
    """Find a model that has a card, and build its network with its weights, in evaluation mode.

    Returns:
        The checkpoint, its card and the network.

    Raises:
        FileNotFoundError: if there is no such model, or it has no card.
        ValueError: if weights or card cannot be used.
    """
    checkpoint = find_model(model)
    card = ModelCard.of(checkpoint)
    if card is None:
        raise FileNotFoundError(
            f"{checkpoint} has no model card beside it: train it with this version, or convert a released checkpoint "
            "with condseg convert, which write one"
        )
    network = network_of(card)
    RequiredCheckpoint(checkpoint, network, card).load()
    return checkpoint, card, network.eval()


def pack_bundle(
    model: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    torchscript: bool = True,
    half: bool = False,
    overwrite: bool = False,
    url: str | None = None,
) -> Path:
    """Write a bundle folder, or a zip of one, that needs no option to use the model right.

    It has ``configs/`` with the model's own values, ``models/`` with ``model.pt``, its card and ``model.ts``, metadata
    for its task, documentation and licence, and a ``README.md`` with the card data of the Hugging Face hub. It appears
    whole.

    Args:
        model: see :func:`~condseg_monai.inference.model_files.find_model`.
        destination: a new folder, or a file that ends in ``.zip``; the name is the bundle's.
        torchscript: whether to make ``models/model.ts``.
        half: store floating-point weights as float16.
        overwrite: replace a bundle that was packed before.
        url: the address below which files over 25 MB will be found, as ``large_files.json`` says then, which the Model
            Zoo and ``monai.bundle download_large_files`` read. The files themselves stay in the bundle.

    Raises:
        FileExistsError: if ``destination`` exists, unless ``overwrite`` and it was packed by this function.
        FileNotFoundError: if there is no such model or it has no card.
        ValueError: if the model cannot be used, or MONAI would evaluate the bundle's name.
    """
    target = Path(destination)
    name = target.name.removesuffix(".zip")
    if name.startswith(("$", "@", "%")):
        raise ValueError(f"destination {target} begins with {name[0]}, which MONAI's configs evaluate: rename it")
    _check_destination(target, overwrite)
    checkpoint, card, network = load_model(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}.") as temporary:
        root = Path(temporary) / name
        _write_models(root / "models", checkpoint, card, network, half)
        _write_configs(root / "configs", card, name)
        source = bundle_dir()
        shutil.copyfile(source / "LICENSE", root / "LICENSE")
        (root / "docs").mkdir()
        shutil.copyfile(source / "docs" / "data_license.txt", root / "docs" / "data_license.txt")
        (root / "docs" / "README.md").write_text(_readme(name, card), encoding="utf-8")
        (root / "README.md").write_text(f"{_hub_card(card)}\n{_readme(name, card)}", encoding="utf-8")
        if torchscript:
            _export_torchscript(root, card)
        if url is not None:
            _write_large_files(root, url)
        if target.suffix == ".zip":
            archive = shutil.make_archive(str(Path(temporary) / "archive"), "zip", temporary, name)
            Path(archive).chmod(0o644)
            Path(archive).replace(target)
        else:
            root.chmod(0o755)
            if target.exists():
                target.rename(Path(temporary) / "replaced")
            root.rename(target)
    return target


def _check_destination(target: Path, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise FileExistsError(f"{target} exists: give another destination, or --overwrite to replace a packed bundle")
    if not _was_packed(target):
        raise FileExistsError(f"{target} was not made by condseg pack, so --overwrite does not replace it")


def _was_packed(target: Path) -> bool:
    try:
        if target.is_dir():
            content = (target / "configs" / "metadata.json").read_text(encoding="utf-8")
        else:
            with zipfile.ZipFile(target) as archive:
                names = (name for name in archive.namelist() if name.endswith("/configs/metadata.json"))
                content = archive.read(next(names, "")).decode()
        return _MARK in json.loads(content)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return False


def _write_models(folder: Path, checkpoint: Path, card: ModelCard, network: nn.Module, half: bool) -> None:
    folder.mkdir(parents=True)
    path = folder / "model.pt"
    if half:
        write_checkpoint(path, half_weights(network))
    else:
        shutil.copyfile(checkpoint, path)
    replace(card, weights={"file": path.name, "sha256": file_sha256(path)}).write(card_path(path))


def half_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """The ``state_dict`` with its floating-point weights as float16; ValueError if one is too large for that."""
    state = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    if wrong := [key for key, value in state.items() if not bool(torch.isfinite(value).all())]:
        raise ValueError(f"half: {wrong[0]} has values beyond float16, which ends at 65504: leave --half out")
    return state


def _write_configs(folder: Path, card: ModelCard, name: str) -> None:
    folder.mkdir()
    train = training_files(card.method, is_ct=card.kind == "ct")
    several = "multi_gpu_semi_supervised" if "train_dec_seg" in train else "multi_gpu_train"
    source = bundle_dir() / "configs"
    configs = {
        "inference": ConfigParser.load_config_files([str(source / f"{_INFERENCE[card.kind]}.json")]),
        # Programs that train load weights themselves: no first stage is asked for, and nothing is downloaded.
        "train": {
            **ConfigParser.load_config_files([str(source / f"{part}.json") for part in train]),
            "stage1_checkpoint": None,
            "encoder_weights": None,
        },
        # read after train.json
        "evaluate": json.loads((source / "evaluate.json").read_text(encoding="utf-8")),
        "multi_gpu_train": json.loads((source / f"{several}.json").read_text(encoding="utf-8")),
    }
    if card.kind == "image":  # that of CT would not share a list of cases
        configs["multi_gpu_inference"] = json.loads((source / "multi_gpu_inference.json").read_text(encoding="utf-8"))
    values = _option_values(card)
    for file, config in configs.items():
        del config["_generated_"]
        write_json(folder / f"{file}.json", {key: values.get(key, value) for key, value in config.items()})
    shutil.copyfile(source / "logging.conf", folder / "logging.conf")
    write_json(folder / "metadata.json", _metadata(card, name))


def _option_values(card: ModelCard) -> dict[str, Any]:
    """Options of the configs that the card decides, with its values, of which MONAI must evaluate none."""
    settings = card.settings()
    values = {option: config_value(settings[option]) for option in CARD_OPTIONS if settings.get(option) is not None}
    values.pop("class_names" if card.is_binary else "threshold", None)  # of the other kind of mask
    return values


def _metadata(card: ModelCard, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle_dir() / "configs" / "metadata.json").read_text(encoding="utf-8"))
    channels, classes = int(card.network["in_channels"]), int(card.network["out_channels"])
    size: list[Any] = [card.image_size, card.image_size]
    names = list(card.class_names)
    is_ct = card.kind == "ct"
    image = content["network_data_format"]["inputs"]["image"]
    image |= {"num_channels": channels, "spatial_shape": size, "value_range": _value_range(card, channels)}
    if is_ct:  # SliceNetwork takes volumes, windowed and grey
        size = [*size, "*"]
        image |= {"num_channels": 1, "spatial_shape": size, "value_range": [0, 1], "channel_def": {"0": "image"}}
        image |= {"format": "hounsfield", "modality": "CT"}
    elif channels == 1:
        image |= {"format": "magnitude", "channel_def": {"0": "image"}}
    elif card.normalization == "released":  # blue first
        image["channel_def"] = dict(zip("012", reversed(image["channel_def"].values()), strict=True))
    content["network_data_format"]["outputs"]["pred"] |= {
        "num_channels": classes,
        "spatial_shape": size,
        "value_range": [0, max(1, len(names) - 1)],
        "channel_def": {str(i): text for i, text in enumerate(names)},
    }
    what = "axial CT slices" if is_ct else "2D images"
    labels = "; ".join(f"{i} is {text}" for i, text in enumerate(names))
    content |= {
        "version": "1.0.0",
        "changelog": {"1.0.0": f"packed by condseg_monai {__version__}"},
        "name": name,
        "task": f"Segmentation of {', '.join(names[1:])} in {what}",
        "description": f"{card.method}: {', '.join(f'{key} {value}' for key, value in card.network.items())}",
        "data_type": "NIfTI or DICOM" if is_ct else content["data_type"],
        "image_classes": f"{what} of {card.image_size} x {card.image_size} pixels, normalization {card.normalization}",
        "label_classes": labels,
        "pred_classes": labels,
        "monai_version": metadata.version("monai"),
        "pytorch_version": metadata.version("torch").partition("+")[0],
        "numpy_version": metadata.version("numpy"),
        _MARK: {"condseg_monai": __version__, "weights": card.weights.get("sha256")},
    }
    sources = {"data_source": card.training.get("data"), "licence": card.training.get("licence")}
    content |= {key: str(text) for key, text in sources.items() if text}
    if best := card.training.get("best"):
        content["eval_metrics"] = {str(best["metric"]): float(best["value"])}
    return content


def _value_range(card: ModelCard, channels: int) -> Sequence[float]:
    if card.normalization == "released":
        return [0, 1]
    return [-1.99, 2.44] if channels == 1 else [-2.12, 2.64]


def _export_torchscript(root: Path, card: ModelCard) -> None:
    """Write ``models/model.ts`` as ``monai.bundle ckpt_export`` in the bundle does."""
    trace = card.network.get("encoder") == "pvt_v2_b2"  # transformers cannot be scripted
    size = card.image_size
    shape = [1, 1, size, size, 2] if card.kind == "ct" else [1, int(card.network["in_channels"]), size, size]
    ckpt_export(
        net_id="network_def",
        filepath=str(root / "models" / "model.ts"),
        ckpt_file=str(root / "models" / "model.pt"),
        meta_file=str(root / "configs" / "metadata.json"),
        config_file=str(root / "configs" / "inference.json"),
        use_trace=trace,
        input_shape=shape if trace else None,
        bundle_root=str(root),
        device="cpu",  # weights laid out as condseg predict has them there
        converter_kwargs={"device": torch.device("cpu")},
    )


def _write_large_files(root: Path, url: str) -> None:
    files = [
        {"path": path, "url": f"{url.rstrip('/')}/{path}", "hash_val": file_sha256(root / path), "hash_type": "sha256"}
        for path in sorted(file.relative_to(root).as_posix() for file in (root / "models").iterdir())
        if (root / path).stat().st_size > _LARGE_BYTES
    ]
    if files:
        write_json(root / "large_files.json", {"large_files": files})


def _hub_card(card: ModelCard) -> str:
    """What the Hugging Face hub reads at the top of ``README.md``; the scores are in the text below.

    The licence is that of the weights, which the package's own does not decide: none is said where the card says none.
    """
    modality = "ct" if card.kind == "ct" else "2d"
    licence = card.training.get("licence")
    known = f"license: other\nlicense_name: {json.dumps(str(licence))}\n" if licence else ""
    return f"""---
{known}library_name: monai
pipeline_tag: image-segmentation
tags: [monai, medical, condseg_monai, {card.method}, {modality}]
metrics: [mean_iou]
---
"""


def _readme(name: str, card: ModelCard) -> str:
    settings = "\n".join(f"| {key} | {value} |" for key, value in card.settings().items() if value is not None)
    best: Mapping[str, Any] | None = card.training.get("best")
    score = "No validation score is known."
    if best:
        interval = best.get("interval_95")
        between = f", 95 % interval {interval[0]:.3f} to {interval[1]:.3f} over images" if interval else ""
        score = f"Best validation score: {best['metric']} {best['value']:.3f} in epoch {best['epoch']}{between}."
    source = "CT" if card.kind == "ct" else "IMAGES"
    memory = ""
    if card.kind == "ct":
        memory = """
`configs/inference.json` holds a whole scan with the scores of all classes in memory, as MONAI's transforms do;
`condseg predict` gives the same labels slice by slice, in bounded memory, and checks what it reads.
"""
    facts = {key: card.training.get(key) for key in ("data", "licence")}
    known = "".join(f"\n\n{key.capitalize()}: {text}." for key, text in facts.items() if text)
    return f"""# {name}

Segments {", ".join(card.class_names[1:])}. Research only: not a medical device and not for diagnosis.

{score} The data sets' hashes are in `models/model.json`.{known}

The package `condseg_monai` has to be installed. In this folder:

```
python -m monai.bundle run --config_file configs/inference.json --dataset_dir {source} --output_dir OUT
```

or from anywhere `condseg predict THIS_FOLDER {source} OUT`, or in Python
`condseg_monai.Segmenter("THIS_FOLDER").predict(...)`. `monai.bundle.load`, `ckpt_export`, MONAI Label and MONAI Deploy
need no option: the configs have the model's values.
{memory}
| setting | value |
|---|---|
{settings}
"""

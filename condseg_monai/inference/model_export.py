"""Export a trained model to TorchScript, ONNX, ``torch.export`` or a Triton server, and hold the export against it."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from condseg_monai.data.images.normalization import normalize_image
from condseg_monai.inference.packed_bundle import load_model, pack_bundle
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.utils.files import atomic_write

__all__ = ["EXPORT_FORMATS", "export_model", "run_export"]

EXPORT_FORMATS = {"torchscript": ".ts", "onnx": ".onnx", "torch_export": ".pt2", "triton": None}
"""Formats, and how their files end; that of a Triton server is a folder."""

_TOLERANCE = 1e-2  # of logits: rounding in other orders; what a missing layer changes is orders above


def export_model(
    model: str | os.PathLike[str], path: str | os.PathLike[str], format: str, overwrite: bool = False
) -> float:
    """Export a model; batch, height and width stay free, ``image`` goes in, the mask's logits ``pred`` come out.

    A TorchScript carries the configs and metadata of a packed bundle, as ``monai.bundle ckpt_export`` writes them; the
    others the model card, under the name ``model_card``.

    Args:
        model: see :func:`~condseg_monai.inference.model_files.find_model`.
        path: the file to write, atomically. Of ``"triton"`` the model's folder in a model repository, whose name is the
            model's: ``config.pbtxt`` and ``1/model.onnx`` are written into it.
        format: a key of :data:`EXPORT_FORMATS`.
        overwrite: replace what exists.

    Returns:
        The largest difference of the export's logits to the model's, in parts of the largest logit, on noise and on
        smooth images, at the model's size and another.

    Raises:
        FileExistsError: if a file exists.
        IsADirectoryError: if a file to write is a folder.
        ImportError: if ONNX is not installed; the message names the extra.
        ValueError: if ``format`` is unknown, or the export computes something else.
    """
    if format not in EXPORT_FORMATS:
        raise ValueError(f"format must be one of {', '.join(EXPORT_FORMATS)}, got {format!r}")
    target = Path(path)
    config = target / "config.pbtxt"
    files = [target / "1" / "model.onnx", config] if format == "triton" else [target]
    for file in files:
        if file.is_dir():
            raise IsADirectoryError(f"{file} is a folder: give the path of a file")
        if file.exists() and not overwrite:
            raise FileExistsError(f"{file} exists: give another path, or --overwrite to replace it")
    _, card, network = load_model(model)
    with atomic_write(files[0]) as temporary:
        if format == "torchscript":
            _write_torchscript(temporary, model)
        elif format == "torch_export":
            _write_program(temporary, card, network)
        else:
            _write_onnx(temporary, card, network)
        difference = _difference(temporary, card, network, format)
    if format == "triton":
        with atomic_write(config) as temporary:
            temporary.write_text(_triton_config(card), encoding="utf-8")
    return difference


def _triton_config(card: ModelCard) -> str:
    """A server's settings, to be edited; the model's name is that of the folder. Images of one size share a batch."""
    text = json.dumps(json.dumps(card.as_dict()))  # quoted as protobuf's text format quotes
    return f"""backend: "onnxruntime"
max_batch_size: 8
input {{ name: "image" data_type: TYPE_FP32 dims: [ {int(card.network["in_channels"])}, -1, -1 ] }}
output {{ name: "pred" data_type: TYPE_FP32 dims: [ {int(card.network["out_channels"])}, -1, -1 ] }}
dynamic_batching {{ }}
parameters {{ key: "model_card" value {{ string_value: {text} }} }}
"""


def _write_program(path: Path, card: ModelCard, network: nn.Module) -> None:
    free = torch.export.Dim.DYNAMIC
    images = _images(card, 2, max(card.image_size, 128), 8)  # a map of one pixel would be taken to be always one pixel
    program = torch.export.export(network, (images,), dynamic_shapes=({0: free, 2: free, 3: free},))
    with path.open("wb") as stream:
        torch.export.save(program, stream, extra_files={"model_card": json.dumps(card.as_dict())})


def _write_torchscript(path: Path, model: str | os.PathLike[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bundle = pack_bundle(model, Path(folder) / "condseg")
        path.write_bytes((bundle / "models" / "model.ts").read_bytes())


def _write_onnx(path: Path, card: ModelCard, network: nn.Module) -> None:
    try:
        import onnx
    except ImportError as error:
        raise ImportError('export to ONNX needs the extra onnx: pip install "condseg_monai[onnx]"') from error
    free = {0: "batch", 2: "height", 3: "width"}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: the export is compared with the model below
        torch.onnx.export(
            network,
            (_images(card, 2, card.image_size, 8),),
            str(path),
            input_names=["image"],
            output_names=["pred"],
            dynamic_axes={"image": free, "pred": free},
            opset_version=18,
            dynamo=False,  # the other exporter takes minutes for sizes that are free
        )
    content = onnx.load(str(path))
    channels = content.graph.output[0].type.tensor_type.shape.dim[1]
    channels.ClearField("dim_param")
    channels.dim_value = int(card.network["out_channels"])
    onnx.helper.set_model_props(content, {"model_card": json.dumps(card.as_dict())})
    onnx.save(content, str(path))


def _difference(path: Path, card: ModelCard, network: nn.Module, format: str) -> float:
    run, largest = run_export(path, format), 0.0
    for number, size in ((1, card.image_size), (2, card.image_size + 16)):
        for detail in (size, 8):
            images = _images(card, number, size, detail)
            with torch.no_grad():
                expected = network(images)
                found = run(images)
            largest = max(largest, float((found - expected).abs().max() / expected.abs().max().clamp(min=1)))
    if not largest <= _TOLERANCE:
        raise ValueError(f"the exported model differs from the original by {largest:.3g} of its largest logit")
    return largest


def run_export(path: Path, format: str) -> Callable[[Tensor], Tensor]:
    """Open an export's file to run it on a CPU, with PyTorch's number of threads; the result maps images to logits."""
    return {"torchscript": _run_torchscript, "torch_export": _run_program}.get(format, _run_onnx)(path)


def _run_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    try:
        from onnxruntime import InferenceSession, SessionOptions
    except ImportError as error:
        raise ImportError('export to ONNX needs the extra onnx: pip install "condseg_monai[onnx]"') from error
    options = SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.as_tensor(session.run(None, {"image": images.numpy()})[0])


def _run_torchscript(path: Path) -> Callable[[Tensor], Tensor]:
    return torch.jit.load(str(path))


def _run_program(path: Path) -> Callable[[Tensor], Tensor]:
    with path.open("rb") as stream:
        return torch.export.load(stream).module()


def _images(card: ModelCard, number: int, size: int, detail: int) -> Tensor:
    """Random images, normalised as the model's: noise, or smooth with ``detail`` places per side."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(number, int(card.network["in_channels"]), detail, detail, generator=generator)
    return normalize_image(nn.functional.interpolate(images, size, mode="bilinear"), card.normalization)

"""What is measured: training steps and inference, by each way to do them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain import PlainConDSeg, PlainConDSegStage1, PlainMedDisSeg
from condseg_monai import (
    ConDSeg,
    ConDSegLoss,
    ConDSegStage1,
    ConsistencyReinforcementLoss,
    DECSeg,
    DECSegLoss,
    MedDisSeg,
    MedDisSegLoss,
    fold_batch_norm,
)

__all__ = ["BATCH_SIZES", "JOBS", "WAYS", "make_images", "make_step", "make_training"]

Step = Callable[[], Tensor]

# Job: class of the network, its plain counterpart if there is one, further arguments.
JOBS: dict[str, tuple[type[nn.Module], type[nn.Module] | None, dict[str, Any]]] = {
    "stage1": (ConDSegStage1, PlainConDSegStage1, {}),
    "stage2-paper": (ConDSeg, PlainConDSeg, {"cdfa": "paper"}),
    "stage2-released": (ConDSeg, PlainConDSeg, {"cdfa": "released"}),
    "stage2-med_disseg": (MedDisSeg, PlainMedDisSeg, {}),
    "train-dec_seg": (DECSeg, None, {}),
    "inference-paper": (ConDSeg, PlainConDSeg, {"cdfa": "paper"}),
    "inference-released": (ConDSeg, PlainConDSeg, {"cdfa": "released"}),
    "inference-med_disseg": (MedDisSeg, PlainMedDisSeg, {}),
    "inference-dec_seg": (DECSeg, None, {}),
}
BATCH_SIZES = {"stage1": 4, "stage2": 2, "train": 2, "inference": 1}

_TRAINING_WAYS = ("plain", "network", "channels_last", "bfloat16")
_INFERENCE_WAYS = ("plain", "network", "folded", "channels_last", "compile", "bfloat16")
# The first is what the others are held against; "network" is the package's network as it comes.
WAYS = {
    job: (_INFERENCE_WAYS if job.startswith("inference") else _TRAINING_WAYS)[0 if plain else 1 :]
    for job, (_, plain, _) in JOBS.items()
}
_LOSSES: dict[str, Callable[[], nn.Module]] = {
    "stage1": ConsistencyReinforcementLoss,
    "stage2-med_disseg": lambda: MedDisSegLoss(ConDSegLoss()),
    "train-dec_seg": DECSegLoss,
}


def make_step(
    job: str,
    way: str,
    *,
    size: int,
    batch: int | None = None,
    device: str = "cpu",
    weights: Mapping[str, Tensor] | None = None,
    **network_arguments: Any,
) -> Step:
    """Build the network and the data of a job and return what does it once.

    Args:
        job: one of :data:`JOBS`.
        way: one of :data:`WAYS` for the job.
        size: height and width of the images.
        batch: images; None for the one of :data:`BATCH_SIZES`. Stage 1 passes twice as many views.
        device: where to compute; ``"meta"`` goes through the operations on tensors without values, to count them.
        weights: for inference, a state_dict; None for random weights.
        network_arguments: such as ``encoder``, for a smaller network.

    Returns:
        A function that does one step, waits for the device and returns the loss or the mask's logits. The numbers are
        those of every other way, up to rounding.
    """
    kind = job.partition("-")[0]
    if kind != "inference":
        return make_training(job, way, size=size, batch=batch, device=device, **network_arguments)[1]
    network = _make_network(job, way, network_arguments).eval()
    if weights is not None:
        network.load_state_dict(weights)
    if way not in ("plain", "network"):
        fold_batch_norm(network, torch.rand(1, 3, 64, 64), inplace=True)
    images, _ = make_images(batch or BATCH_SIZES[kind], size)
    return _inference(network.to(device), images.to(device), way)


def make_training(
    job: str, way: str, *, size: int, batch: int | None = None, device: str = "cpu", **network_arguments: Any
) -> tuple[nn.Module, Step]:
    """The network of a training job, and what does one step with it; arguments as for :func:`make_step`.

    After a step the parameters have its gradients still.
    """
    kind = job.partition("-")[0]
    network = _make_network(job, way, network_arguments).train().to(device)
    images, masks = make_images(batch or BATCH_SIZES[kind], size, views=2 if kind == "stage1" else 1)
    return network, _training(network, images.to(device), masks.to(device), _LOSSES.get(job, ConDSegLoss)(), way)


def make_images(batch: int, size: int, views: int = 1) -> tuple[Tensor, Tensor]:
    """Noise with blobs that are brighter, ``(views * batch, 3, H, W)`` in [0, 1], and masks ``(batch, 1, H, W)``."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(batch, 1, 4, 4, generator=generator)
    masks = (F.interpolate(coarse, size=(size, size), mode="bilinear") > 0.5).to(torch.get_default_dtype())
    noise = torch.rand(views * batch, 3, size, size, generator=generator)
    return (noise + masks.repeat(views, 1, 1, 1)) / 2, masks


def _make_network(job: str, way: str, network_arguments: Mapping[str, Any]) -> nn.Module:
    ours, plain, arguments = JOBS[job]
    torch.manual_seed(0)
    return (plain if way == "plain" and plain else ours)(**{**arguments, **network_arguments})


def _training(network: nn.Module, images: Tensor, labels: Tensor, loss: nn.Module, way: str) -> Step:
    if way == "channels_last":
        network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # changes nothing, and makes the first step like any other

    def step() -> Tensor:
        optimizer.zero_grad()
        with _autocast(images, way):
            output = network(images)
        value: Tensor = loss(output, labels)
        value.backward()
        optimizer.step()
        return _result(value)

    return step


def _inference(network: nn.Module, images: Tensor, way: str) -> Step:
    run: Callable[[Tensor], Any] = network
    if way in ("channels_last", "compile", "bfloat16"):
        network.to(memory_format=torch.channels_last)
    if way == "compile":
        run = torch.compile(network, mode="reduce-overhead" if images.is_cuda else None)

    def step() -> Tensor:
        with torch.inference_mode() if way != "compile" else torch.no_grad(), _autocast(images, way):
            output = run(images)
        return _result(output if isinstance(output, Tensor) else output.mask)

    return step


def _autocast(images: Tensor, way: str) -> contextlib.AbstractContextManager[None]:
    if way != "bfloat16":
        return contextlib.nullcontext()
    return torch.autocast(images.device.type, torch.bfloat16)


def _result(value: Tensor) -> Tensor:
    """Bring a result to the CPU, which waits for the device; without values there is nothing to bring."""
    value = value.detach().float()
    return value if value.is_meta else value.cpu()

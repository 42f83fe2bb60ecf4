"""Time training steps and inference beside a plain composition of the same networks.

    python -m benchmarks                                        # everything, full size: half an hour on two cores
    python -m benchmarks --jobs inference-paper --repeats 7
    python -m benchmarks --size 64 --encoder resnet18 --decoder_channels 16    # a try, seconds

Ways of one job take turns, so that a machine whose speed drifts is as slow for one as for the other; give
``--clock cpu`` and ``OMP_NUM_THREADS=1`` on a machine that others use too. ``+`` joins ways, as in
``selective+float16``; float16 and bfloat16 are mixed precision, half is float16 throughout, graph replays a CUDA graph.
Difference: of the losses, or the logits over the largest of them; networks without training amplify rounding.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.nets import SegResNet
from torch import Tensor, nn

from benchmarks.measure import CLOCKS, interleave
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
    baseline_unet,
    use_channels_last,
)
from condseg_monai.inference.packed_bundle import load_model
from condseg_monai.losses.mask import MaskLoss

Step = Callable[[], Tensor]

OTHERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "unet": (baseline_unet, {"decoder_channels": 32}),
    "segresnet": (SegResNet, {"spatial_dims": 2, "in_channels": 3, "out_channels": 1, "init_filters": 32}),
}

# Job: class of the network, its plain counterpart if there is one, further arguments, loss and images of a batch.
JOBS: dict[str, tuple[Any, Any, dict[str, Any], Callable[[], nn.Module] | None, int]] = {
    "stage1": (ConDSegStage1, PlainConDSegStage1, {}, ConsistencyReinforcementLoss, 4),
    "stage2-paper": (ConDSeg, PlainConDSeg, {"cdfa": "paper"}, ConDSegLoss, 2),
    "stage2-released": (ConDSeg, PlainConDSeg, {"cdfa": "released"}, ConDSegLoss, 2),
    "stage2-med_disseg": (MedDisSeg, PlainMedDisSeg, {}, lambda: MedDisSegLoss(ConDSegLoss()), 2),
    "train-dec_seg": (DECSeg, None, {}, DECSegLoss, 2),
    **{f"train-{name}": (network, None, arguments, MaskLoss, 2) for name, (network, arguments) in OTHERS.items()},
    "inference-paper": (ConDSeg, PlainConDSeg, {"cdfa": "paper"}, None, 1),
    "inference-released": (ConDSeg, PlainConDSeg, {"cdfa": "released"}, None, 1),
    "inference-med_disseg": (MedDisSeg, PlainMedDisSeg, {}, None, 1),
    "inference-dec_seg": (DECSeg, None, {}, None, 1),
    "inference-condseg_polyp": (lambda: load_model("condseg_polyp")[2], None, {}, None, 1),
    **{f"inference-{name}": (network, None, arguments, None, 1) for name, (network, arguments) in OTHERS.items()},
}
DEFAULT_WAYS = ("plain", "network", "selective", "block", "channels_last")
CHECKPOINTING = ("selective", "block")
INFERENCE_WAYS = ("half", "float64", "graph", "script")
WAYS = (*DEFAULT_WAYS, "fused", "float16", "bfloat16", "deterministic", "compile", *INFERENCE_WAYS)


def main() -> None:
    """Measure what the command line asks for and print a table in Markdown."""
    options = parse()
    print(f"{options.size} x {options.size}, {options.device}, {torch.get_num_threads()} threads, {options.clock}")
    print("| job | way | seconds | of the first | difference |\n|---|---|---|---|---|")
    for job in options.jobs:
        steps = {way: make_step(job, way, options) for way in options.ways if has_way(job, way)}
        seconds, results = interleave(steps, options.repeats, options.clock, options.warm_up, options.device)
        first = next(iter(steps))
        for way in steps:
            ratio = statistics.median(a / b for a, b in zip(seconds[way], seconds[first], strict=True))
            scale = max(1.0, results[first].abs().max().item())
            difference = (results[way] - results[first]).abs().max().item() / scale
            print(
                f"| {job} | {way} | {statistics.median(seconds[way]):.2f} | {ratio:.2f} | {difference:.0e} |",
                flush=True,
            )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS), metavar="JOB", help=f"{list(JOBS)}")
    parser.add_argument("--ways", nargs="+", type=known_way, default=DEFAULT_WAYS, metavar="WAY", help=f"{WAYS}")
    parser.add_argument("--size", type=int, default=256, help="height and width of the images")
    parser.add_argument("--batch", type=int, help="other images in a batch than the job's")
    parser.add_argument("--repeats", type=int, default=3, help="turns that are counted")
    parser.add_argument("--warm_up", type=int, default=1, help="turns that are not counted")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile_backend", default="inductor", help="of the way compile")
    parser.add_argument("--encoder", help="a smaller network than resnet50")
    parser.add_argument("--decoder_channels", type=int, help="fewer channels than 128")
    return parser.parse_args()


def known_way(way: str) -> str:
    """Return ``way`` if each of its parts is known."""
    if unknown := set(way.split("+")) - set(WAYS):
        raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}, known are {', '.join(WAYS)}")
    return way


def has_way(job: str, way: str) -> bool:
    """Whether a job can be done that way."""
    parts = set(way.split("+"))
    if "plain" in parts and JOBS[job][1] is None:
        return False
    if "fused" in parts and (job == "stage1" or job.split("-")[-1] in OTHERS):  # without CDFA
        return False
    trains, ours = JOBS[job][3] is not None, job.split("-")[-1] not in OTHERS
    return not (trains and parts & set(INFERENCE_WAYS)) and ((trains and ours) or not parts & set(CHECKPOINTING))


def make_step(job: str, way: str, options: argparse.Namespace) -> Step:
    """Build the network and the data of a job; the result does one step and returns the loss, or the mask's logits."""
    _, _, _, make_loss, batch = JOBS[job]
    parts = way.split("+")
    torch.manual_seed(0)
    network = make_network(job, parts, options).to(options.device)
    images, masks = make_images(options.batch or batch, options.size, views=2 if job == "stage1" else 1)
    images, masks = images.to(options.device), masks.to(options.device)

    @contextlib.contextmanager
    def mode() -> Iterator[None]:
        mixed = dtype_of(parts, {"float16": torch.float16, "bfloat16": torch.bfloat16})
        deterministic = "deterministic" in parts
        with (
            torch.autocast(images.device.type, mixed, enabled=mixed is not None),
            torch.backends.cudnn.flags(True, benchmark=not deterministic, deterministic=deterministic),
        ):
            yield

    if make_loss is None:
        dtype = dtype_of(parts, {"half": torch.float16, "float64": torch.float64}) or torch.float32
        return make_inference(network.eval().to(dtype), images.to(dtype), parts, mode, options)
    network.train()
    run = torch.compile(network, backend=options.compile_backend) if "compile" in parts else network
    loss, optimizer = make_loss(), torch.optim.Adam(network.parameters(), lr=1e-4)
    # A scale from which no first step overflows and is skipped: losses can be compared with those of float32.
    scaler = torch.amp.GradScaler(images.device.type, init_scale=2.0**10, enabled="float16" in parts)

    def train() -> Tensor:
        optimizer.zero_grad()
        with mode():
            value: Tensor = loss(run(images), masks)
            scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
        return value.detach()

    return train


def dtype_of(parts: Sequence[str], dtypes: Mapping[str, torch.dtype]) -> torch.dtype | None:
    """The type that one of the parts names."""
    return next((dtypes[part] for part in parts if part in dtypes), None)


def make_network(job: str, parts: Sequence[str], options: argparse.Namespace) -> nn.Module:
    """Build a job's network."""
    ours, plain, arguments, _, _ = JOBS[job]
    arguments = dict(arguments)
    if options.encoder and isinstance(ours, type) and ours is not SegResNet:
        arguments["encoder"] = options.encoder
    if options.decoder_channels and (ours is baseline_unet or (isinstance(ours, type) and issubclass(ours, ConDSeg))):
        arguments["decoder_channels"] = options.decoder_channels
    for checkpointing in CHECKPOINTING:
        if checkpointing in parts:
            arguments["checkpointing"] = checkpointing
    network: nn.Module = (plain if "plain" in parts else ours)(**arguments)
    if "fused" in parts:
        for cdfa in network.cdfas:
            cdfa.fused = True
    return use_channels_last(network, "channels_last" in parts)


def make_inference(
    network: nn.Module, images: Tensor, parts: Sequence[str], mode: Callable[[], Any], options: argparse.Namespace
) -> Step:
    """The step of inference: the logits of the mask, of float32."""
    run: Callable[[Tensor], Any] = network
    if "compile" in parts:
        run = torch.compile(network, backend=options.compile_backend)
    if "script" in parts:
        run = torch.jit.script(network)
    if "graph" in parts:
        run = record_graph(network, images)

    def infer() -> Tensor:
        with torch.no_grad(), mode():
            output = run(images)
        return (output if isinstance(output, Tensor) else output.mask).float()

    return infer


def record_graph(network: nn.Module, images: Tensor) -> Callable[[Tensor], Any]:
    """Record a CUDA graph of the network; on a CPU, which has none, the network itself."""
    if images.device.type != "cuda":
        return network
    given, stream, graph = images.clone(), torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.backends.cudnn.flags(True, benchmark=True):
        with torch.cuda.stream(stream):  # what is chosen and allocated in the first calls must not be recorded
            for _ in range(3):
                network(given)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            output = network(given)

    def replay(x: Tensor) -> Any:
        given.copy_(x)
        graph.replay()
        return output

    return replay


def make_images(batch: int, size: int, views: int = 1) -> tuple[Tensor, Tensor]:
    """Noise with blobs that are brighter, ``(views * batch, 3, H, W)`` in [0, 1], and masks ``(batch, 1, H, W)``."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(batch, 1, 4, 4, generator=generator)
    masks = (F.interpolate(coarse, size=(size, size), mode="bilinear") > 0.5).float()
    noise = torch.rand(views * batch, 3, size, size, generator=generator)
    return (noise + masks.repeat(views, 1, 1, 1)) / 2, masks


if __name__ == "__main__":
    main()

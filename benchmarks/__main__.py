"""Time training steps and inference beside a plain composition of the same networks.

    python -m benchmarks                                        # everything, full size: half an hour on two cores
    python -m benchmarks --jobs inference-paper --repeats 7
    python -m benchmarks --size 64 --encoder resnet18 --decoder_channels 16    # a try, seconds

Ways of one job take turns, so that a machine whose speed drifts is as slow for one as for the other; give
``--clock cpu`` and ``OMP_NUM_THREADS=1`` on a machine that others use too. Difference: of the losses, or the
logits over the largest of them; networks without training amplify rounding.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
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
)

Step = Callable[[], Tensor]

# Job: class of the network, its plain counterpart if there is one, further arguments, loss and images of a batch.
JOBS: dict[str, tuple[Any, Any, dict[str, Any], Callable[[], nn.Module] | None, int]] = {
    "stage1": (ConDSegStage1, PlainConDSegStage1, {}, ConsistencyReinforcementLoss, 4),
    "stage2-paper": (ConDSeg, PlainConDSeg, {"cdfa": "paper"}, ConDSegLoss, 2),
    "stage2-released": (ConDSeg, PlainConDSeg, {"cdfa": "released"}, ConDSegLoss, 2),
    "stage2-med_disseg": (MedDisSeg, PlainMedDisSeg, {}, lambda: MedDisSegLoss(ConDSegLoss()), 2),
    "train-dec_seg": (DECSeg, None, {}, DECSegLoss, 2),
    "inference-paper": (ConDSeg, PlainConDSeg, {"cdfa": "paper"}, None, 1),
    "inference-released": (ConDSeg, PlainConDSeg, {"cdfa": "released"}, None, 1),
    "inference-med_disseg": (MedDisSeg, PlainMedDisSeg, {}, None, 1),
    "inference-dec_seg": (DECSeg, None, {}, None, 1),
}
WAYS = ("plain", "network", "selective", "block", "channels_last", "bfloat16", "compile")


def main() -> None:
    """Measure what the command line asks for and print a table in Markdown."""
    options = parse()
    print(f"{options.size} x {options.size}, {options.device}, {torch.get_num_threads()} threads, {options.clock}")
    print("| job | way | seconds | of the first | difference |\n|---|---|---|---|---|")
    for job in options.jobs:
        steps = {way: make_step(job, way, options) for way in WAYS if way in options.ways and has_way(job, way)}
        seconds, results = interleave(steps, options.repeats, options.clock, options.warm_up)
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
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS[:5]), metavar="WAY", help=f"{WAYS}")
    parser.add_argument("--size", type=int, default=256, help="height and width of the images")
    parser.add_argument("--batch", type=int, help="other images in a batch than the job's")
    parser.add_argument("--repeats", type=int, default=3, help="turns that are counted")
    parser.add_argument("--warm_up", type=int, default=1, help="turns that are not counted")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--encoder", help="a smaller network than resnet50")
    parser.add_argument("--decoder_channels", type=int, help="fewer channels than 128")
    return parser.parse_args()


def has_way(job: str, way: str) -> bool:
    """Whether a job can be done that way."""
    if way == "plain":
        return JOBS[job][1] is not None
    return way not in ("selective", "block") or JOBS[job][3] is not None


def make_step(job: str, way: str, options: argparse.Namespace) -> Step:
    """Build the network and the data of a job; the result does one step and returns the loss, or the mask's logits."""
    ours, plain, arguments, make_loss, batch = JOBS[job]
    arguments = {**arguments, **({"encoder": options.encoder} if options.encoder else {})}
    if options.decoder_channels and issubclass(ours, ConDSeg):
        arguments["decoder_channels"] = options.decoder_channels
    if way in ("selective", "block"):
        arguments["checkpointing"] = way
    torch.manual_seed(0)
    network = (plain if way == "plain" else ours)(**arguments).to(options.device)
    if way in ("channels_last", "bfloat16") or (way == "compile" and make_loss is None):
        network.to(memory_format=torch.channels_last)
    run = torch.compile(network) if way == "compile" else network
    images, masks = make_images(options.batch or batch, options.size, views=2 if job == "stage1" else 1)
    images, masks = images.to(options.device), masks.to(options.device)
    mixed = torch.autocast(images.device.type, torch.bfloat16) if way == "bfloat16" else contextlib.nullcontext()

    def infer() -> Tensor:
        with torch.no_grad(), mixed:
            output = run(images)
        return (output if isinstance(output, Tensor) else output.mask).float().cpu()

    if make_loss is None:
        network.eval()
        return infer
    network.train()
    loss, optimizer = make_loss(), torch.optim.Adam(network.parameters(), lr=1e-4)

    def train() -> Tensor:
        optimizer.zero_grad()
        with mixed:
            output = run(images)
        value: Tensor = loss(output, masks)
        value.backward()
        optimizer.step()
        return value.detach().float().cpu()

    return train


def make_images(batch: int, size: int, views: int = 1) -> tuple[Tensor, Tensor]:
    """Noise with blobs that are brighter, ``(views * batch, 3, H, W)`` in [0, 1], and masks ``(batch, 1, H, W)``."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(batch, 1, 4, 4, generator=generator)
    masks = (F.interpolate(coarse, size=(size, size), mode="bilinear") > 0.5).float()
    noise = torch.rand(views * batch, 3, size, size, generator=generator)
    return (noise + masks.repeat(views, 1, 1, 1)) / 2, masks


if __name__ == "__main__":
    main()

"""Print what training steps and inference cost, next to a plain composition of the same networks.

    python -m benchmarks                                        # everything, full size: half an hour on two cores
    python -m benchmarks --jobs inference-paper --repeats 5
    python -m benchmarks --size 64 --encoder resnet18 --decoder_channels 16    # a try, seconds

Ways of one job take turns, so that a machine whose speed drifts is as slow for one as for the other; give
``--clock cpu`` and ``OMP_NUM_THREADS=1`` on a machine that others use too. Tensors: the most bytes of tensors made in a
step, the same on every machine. Process: the most memory, with all libraries, of a fresh process that does a few steps,
as freed blocks that are left in between add up. ``--repeats 0`` times the steps of that process and no others.
Difference: of the losses, or the logits over the largest of them. ``--checkpoint FILE`` has trained weights for
inference, such as the bundle's ``model.pt``: random ones, whose running statistics are nobody's, enlarge rounding.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

import torch

from benchmarks.jobs import JOBS, WAYS, make_step
from benchmarks.measure import CLOCKS, PeakTensorBytes, interleave, peak_rss_bytes

COUNTED = ("plain", "network", "folded", "channels_last")


def main() -> None:
    """Measure what the command line asks for and print a table in Markdown."""
    options = parse()
    arguments = {
        name: value
        for name, value in (("encoder", options.encoder), ("decoder_channels", options.decoder_channels))
        if value is not None
    }
    if options.process_of:
        print(json.dumps(process_of(*options.process_of, options, arguments)))
        return
    print(
        f"{options.size} x {options.size}, {options.device}, {torch.get_num_threads()} threads, {options.clock} clock"
    )
    columns = ["job", "way", "seconds", "ratio", "tensors, MB", "ratio", "process, MB", "ratio", "difference"]
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for job in options.jobs:
        for line in job_lines(job, options, arguments):
            print(line, flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--jobs", nargs="+", choices=list(JOBS), default=list(JOBS), metavar="JOB", help=f"{list(JOBS)}"
    )
    parser.add_argument("--ways", nargs="+", metavar="WAY", help="default: plain, network and folded")
    parser.add_argument("--size", type=int, default=256, help="height and width of the images")
    parser.add_argument("--repeats", type=int, default=3, help="turns that are counted")
    parser.add_argument("--warm_up", type=int, default=1, help="turns that are not counted")
    parser.add_argument("--checkpoint", metavar="FILE", help="a state_dict for the network of one job of inference")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--encoder", help="a smaller network than resnet50")
    parser.add_argument("--decoder_channels", type=int, help="fewer channels than 128")
    parser.add_argument("--no_process", action="store_true", help="no fresh processes for their peak memory")
    parser.add_argument("--process_steps", type=int, default=3, help="steps of a fresh process")
    parser.add_argument("--process_of", nargs=2, metavar=("JOB", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.checkpoint and (len(options.jobs) > 1 or "inference" not in options.jobs[0] or not options.repeats):
        parser.error("--checkpoint needs --jobs with one job of inference, and --repeats of 1 and more")
    for job in options.jobs:
        if options.ways and not set(options.ways) & set(WAYS[job]):
            parser.error(f"{job} has no way {' or '.join(options.ways)}: choose from {', '.join(WAYS[job])}")
    return options


def job_lines(job: str, options: argparse.Namespace, arguments: dict[str, Any]) -> list[str]:
    """The lines of a job, one for each way."""
    wanted = options.ways or ("plain", "network", "folded")
    ways = [way for way in WAYS[job] if way in wanted]
    arguments = arguments_for(job, arguments)
    tensors = {way: tensor_bytes(job, way, options.size, arguments) for way in ways if way in COUNTED}
    processes = {} if options.no_process else {way: in_a_fresh_process(job, way, options) for way in ways}
    process = {way: content["process"] for way, content in processes.items()}
    if options.repeats:
        arguments = {"size": options.size, "device": options.device, **arguments}
        if options.checkpoint:
            arguments["weights"] = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
        steps = {way: make_step(job, way, **arguments) for way in ways}
        seconds, results = interleave(steps, options.repeats, options.clock, options.warm_up)
        probes = {way: probe(result) for way, result in results.items()}
    else:
        seconds = {way: content["seconds"] for way, content in processes.items()}
        probes = {way: content["probe"] for way, content in processes.items()}
    plain = ways[0]
    scale = max(1.0, *(abs(value) for value in probes[plain]))
    lines = []
    for way in ways:
        ratio = statistics.median(a / b for a, b in zip(seconds[way], seconds[plain], strict=True))
        difference = max(abs(a - b) for a, b in zip(probes[way], probes[plain], strict=True)) / scale
        cells = [job, way, f"{statistics.median(seconds[way]):.2f}", f"{ratio:.2f}"]
        for peaks in (tensors, process):
            found = way in peaks and plain in peaks
            cells += [f"{peaks[way] / 1e6:.0f}", f"{peaks[way] / peaks[plain]:.2f}"] if found else ["", ""]
        lines.append("| " + " | ".join([*cells, f"{difference:.0e}"]) + " |")
    return lines


def tensor_bytes(job: str, way: str, size: int, arguments: dict[str, Any]) -> int:
    """The most bytes of tensors made in a step; counted without values, so it takes no time to speak of."""
    step = make_step(job, way, size=size, device="meta", **arguments)
    with PeakTensorBytes() as tensors:
        step()
    return tensors.peak


def arguments_for(job: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The network's arguments; stage 1 and DEC-Seg have no decoder of a chosen width."""
    free = job != "stage1" and not job.endswith("dec_seg")
    return {name: value for name, value in arguments.items() if name != "decoder_channels" or free}


def probe(result: torch.Tensor) -> list[float]:
    """A loss, or 4096 of the logits."""
    values = result.flatten()
    return values[torch.linspace(0, len(values) - 1, min(len(values), 4096)).long()].tolist()


def in_a_fresh_process(job: str, way: str, options: argparse.Namespace) -> dict[str, Any]:
    """A few steps of a process that does nothing else."""
    command = [sys.executable, "-m", "benchmarks", "--process_of", job, way]
    for name in ("size", "device", "clock", "encoder", "decoder_channels", "process_steps"):
        value = getattr(options, name)
        command += [f"--{name}", str(value)] if value is not None else []
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    content: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return content


def process_of(job: str, way: str, options: argparse.Namespace, arguments: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each step, the most memory this process ever had, and some of the first result."""
    step = make_step(job, way, size=options.size, device=options.device, **arguments_for(job, arguments))
    seconds, results = interleave({way: step}, options.process_steps, options.clock, warm_up=0)
    return {"seconds": seconds[way], "process": peak_rss_bytes(), "probe": probe(results[way])}


if __name__ == "__main__":
    main()

"""Measure and check training and inference on a GPU, in one command of at most eight minutes.

    .venv/bin/python -m experiments.gpu_check --output_dir runs/gpu_check
    .venv/bin/python -m experiments.gpu_check --output_dir runs/gpu_check --dry_run     # every check, tiny, on a CPU

Each check appends a line to ``results.jsonl`` and a row to ``results.md`` when it ends, so that a run which is cut off
loses nothing; what tells most comes first. A check that fails is recorded with its error, the others go on, and the
exit status is 1; a missed target does not change it. After ``--minutes`` the remaining checks are recorded as skipped.

Times are of steps that end when the device has nothing left to do: median, smallest and largest of the repeats. cuDNN
chooses its algorithms by trial, as with ``--seed null``. ``plain`` is the composition of ``benchmarks/plain.py``. The
difference of inference is from float64, over the largest logit; that of training from the losses of the first steps on
the CPU in float32. With ``--dataset_dir`` (Kvasir-SEG, as ``experiments.train_polyp`` takes it) models are trained in
the time that is left.
"""

from __future__ import annotations

import argparse
import functools
import gc
import io
import json
import math
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.__main__ import has_way, make_images, make_network, make_step
from benchmarks.measure import interleave, peak_rss_bytes, synchronize
from condseg_monai import ConDSeg, VolumeInferer
from condseg_monai.data.ct.volume import Volume
from condseg_monai.networks.ops.local_attention import window_attention
from condseg_monai.utils.environment import describe_environment

Figures = dict[str, Any]
Check = Callable[[], Figures]

REPOSITORY = Path(__file__).resolve().parents[1]
COLUMNS = ("check", "images_per_second", "ms", "low", "high", "p95", "p99", "memory_mb", "difference", "target", "met")
PRECISIONS = ("float16", "bfloat16")
TRAINING = ("float16", "plain+float16", "bfloat16", "selective+float16", "block+float16", "channels_last+float16")
INFERENCE = (
    *("graph+half", "channels_last+graph+half", "network", "plain", "channels_last", "float16", "half"),
    *("channels_last+half", "fused+graph+half", "script"),
)
TRAINED = ("efficientnet_lite0", "efficientnet_lite2")
MOST_LOSS_DIFFERENCE = 0.05
MOST_LOGIT_DIFFERENCE = 0.05
RATES = {"inference-paper": 500, "inference-condseg_polyp": 1500, "stage2-paper": 150}  # images/s, H100 or H200


class Options(argparse.Namespace):
    """The command line; one object is one key of a cache."""

    __hash__ = object.__hash__


class SkippedError(Exception):
    """A check that this machine cannot run, with the reason."""


def main() -> int:
    """Run the checks; 1 if one failed."""
    options = parse()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    heading = "| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS)
    append(options.output_dir / "results.md", heading)
    failed = False
    for name, check in checks(options):
        started = time.monotonic()
        try:
            if started > options.end:
                raise SkippedError("no time left")
            figures = check()
        except SkippedError as reason:
            figures = {"skipped": str(reason)}
        except Exception as error:
            failed, figures = True, {"error": f"{type(error).__name__}: {error}"}
        if torch.cuda.is_available():  # what a check leaves behind is no memory of the next
            gc.collect()
            torch.cuda.empty_cache()
        record(options.output_dir, {"check": name, **figures, "took_s": round(time.monotonic() - started, 1)})
    return int(failed)


def parse() -> Options:
    """The command line, and the sizes that follow from it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--dataset_dir", type=Path, help="Kvasir-SEG, to train on in the time that is left")
    parser.add_argument("--only", default="", help="a pattern of the names of checks to run")
    parser.add_argument("--dry_run", action="store_true", help="on a CPU, with tiny sizes")
    options = parser.parse_args(namespace=Options())
    options.output_dir = options.output_dir.resolve()  # programs run in the repository
    options.dataset_dir = options.dataset_dir and options.dataset_dir.resolve()
    options.end = time.monotonic() + 60 * options.minutes
    dry = options.dry_run
    options.device = "cpu" if dry else options.device
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(
            f"PyTorch {torch.__version__} finds no GPU: see scripts/gpu_check for its CUDA build, or --dry_run"
        )
    options.size, options.encoder, options.decoder_channels = (32, "resnet18", 4) if dry else (256, None, None)
    options.batches = {"train": (2,), "inference": (1,)} if dry else {"train": (16, 4), "inference": (1, 32)}
    options.repeats = {"train": 1, "inference": 1} if dry else {"train": 15, "inference": 100}
    options.warm_up, options.steps, options.cpu_steps = (0, 2, 1) if dry else (5, 200, 5)
    options.compile_backend = "eager" if dry else "inductor"
    return options


def checks(options: Options) -> Iterator[tuple[str, Check]]:
    """Names and functions of all checks, what tells most first."""
    train, inference = options.batches["train"], options.batches["inference"]

    def timings(jobs: list[str], ways: tuple[str, ...], batches: tuple[int, ...]) -> Iterator[tuple[str, Check]]:
        for job in jobs:
            for batch in batches:
                for way in filter(functools.partial(has_way, job), ways):
                    yield f"{job}, batch {batch}, {way}", functools.partial(timing, options, job, batch, way)

    def all_checks() -> Iterator[tuple[str, Check]]:
        yield "environment", describe_environment
        yield from timings(["inference-condseg_polyp", "inference-paper"], INFERENCE[:4], inference[:1])
        yield from timings(["stage2-paper", "stage1"], TRAINING[:3], train[:1])
        for job in ("stage1", "stage2-paper"):
            for precision in PRECISIONS:
                yield f"{job}, losses in {precision}", functools.partial(losses, options, job, precision)
        for job in ("stage2-paper", "inference-paper"):
            yield f"{job}, profile", functools.partial(operations, options, job)
        for dtype in (torch.float16, torch.float32):
            for way in ("plain", "fused"):
                yield f"window attention, {dtype}, {way}", functools.partial(attention, options, way, dtype)
        yield from timings(["stage2-paper"], ("fused+float16", "deterministic+float16"), train[:1])
        yield from timings(["stage2-paper", "stage1"], TRAINING[3:], train[:1])
        yield from timings(["inference-unet", "inference-segresnet"], ("graph+half", "network"), inference)
        yield from timings(["train-unet", "train-segresnet"], ("float16",), train)
        yield "tests marked gpu", run_gpu_tests
        yield "CT volumes", functools.partial(volumes, options)
        yield from timings(["inference-condseg_polyp", "inference-paper"], INFERENCE[4:], inference[:1])
        yield from timings(["inference-condseg_polyp", "inference-paper"], INFERENCE, inference[1:])
        yield from timings(["stage2-paper", "stage1"], TRAINING, train[1:])
        for job in ("inference-condseg_polyp", "inference-paper"):
            yield f"{job}, ONNX Runtime", functools.partial(onnx, options, job)
        yield from timings(["inference-condseg_polyp"], ("compile+float16",), inference[:1])
        yield from timings(["stage2-paper"], ("compile+float16",), train[:1])
        encoders = TRAINED[: 1 if options.dry_run else None] if options.dataset_dir else ()
        for encoder in encoders:
            yield f"training, {encoder}", functools.partial(training, options, encoder)

    return (item for item in all_checks() if re.search(options.only, item[0]))


def timing(options: Options, job: str, batch: int, way: str) -> Figures:
    """Time and peak memory of a step, and what inference differs by from float64."""
    kind = "inference" if job.startswith("inference") else "train"
    if "fused" in way:
        need_triton()
    step = make_step(job, way, argparse.Namespace(**{**vars(options), "batch": batch}))
    figures, result = measure(options, step, batch, options.repeats[kind])
    if kind == "inference" and batch == 1:
        expected = exact_logits(options, job)
        figures["difference"] = ((result.cpu() - expected).abs().max() / expected.abs().max()).item()
        targets = [(f"difference <= {MOST_LOGIT_DIFFERENCE}", figures["difference"] <= MOST_LOGIT_DIFFERENCE)]
    else:
        targets = [("finite", bool(result.isfinite().all()))]
    MEASURED[job, batch, way] = figures
    if job in RATES and batch == options.batches[kind][0] and way in (*PRECISIONS, *INFERENCE[:2]):
        rates = [other["images_per_second"] for (*key, _), other in MEASURED.items() if key == [job, batch]]
        targets.append((f"best of these >= {RATES[job]} images/s", max(rates) >= RATES[job]))
    if "plain" in way:
        own = MEASURED.get((job, batch, way.replace("plain+", "").replace("plain", "network")))
        if own:
            targets.append(("ours no slower", own["ms"] <= figures["ms"]))
            targets.append(("ours no more memory", own["memory_mb"] <= figures["memory_mb"]))
    return {**figures, **judged(targets)}


MEASURED: dict[tuple[str, int, str], Figures] = {}


def measure(
    options: Options, step: Callable[[], Tensor], images: int, repeats: int, warm_up: int | None = None
) -> tuple[Figures, Tensor]:
    """Time a step, and take the peak of the memory it has on the device; on a CPU, of the process."""
    on_gpu = options.device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    warm_up = options.warm_up if warm_up is None else warm_up
    seconds, results = interleave({"": step}, repeats, warm_up=warm_up, device=options.device)
    memory = torch.cuda.max_memory_allocated() if on_gpu else peak_rss_bytes()
    ms = sorted(1e3 * second for second in seconds[""])
    median = statistics.median(ms)
    p95, p99 = np.percentile(ms, (95, 99)).tolist()
    spread = {"low": ms[0], "high": ms[-1], "p95": p95, "p99": p99, "repeats": repeats}
    return {"images_per_second": 1e3 * images / median, "ms": median, **spread, "memory_mb": memory / 1e6}, results[""]


def judged(targets: list[tuple[str, bool]]) -> Figures:
    """The targets of a check in words, and whether all are met."""
    return {"target": ", ".join(words for words, _ in targets), "met": all(met for _, met in targets)}


@functools.cache
def exact_logits(options: Options, job: str) -> Tensor:
    """Logits of one image in float64."""
    return make_step(job, "float64", argparse.Namespace(**{**vars(options), "batch": 1}))().cpu()


def losses(options: Options, job: str, precision: str) -> Figures:
    """Losses of a training: all finite, the first ones as on the CPU in float32."""
    batch = options.batches["train"][-1]
    step = make_step(job, precision, argparse.Namespace(**{**vars(options), "batch": batch}))
    found = torch.stack([step() for _ in range(options.steps)]).cpu()
    expected = cpu_losses(options, job, batch)
    difference = ((found[: len(expected)] - expected) / expected).abs().max().item()
    targets = [
        (f"{options.steps} finite losses", bool(found.isfinite().all())),
        (f"difference <= {MOST_LOSS_DIFFERENCE}", difference <= MOST_LOSS_DIFFERENCE),
    ]
    return {"difference": difference, "first_loss": found[0].item(), "last_loss": found[-1].item(), **judged(targets)}


@functools.cache
def cpu_losses(options: Options, job: str, batch: int) -> Tensor:
    """The first losses of the same training on the CPU, in float32."""
    step = make_step(job, "network", argparse.Namespace(**{**vars(options), "batch": batch, "device": "cpu"}))
    return torch.stack([step() for _ in range(options.cpu_steps)])


def operations(options: Options, job: str) -> Figures:
    """The ten costliest operations of a step, in milliseconds of the device."""
    batch = options.batches["inference" if job.startswith("inference") else "train"][0]
    step = make_step(job, "float16", argparse.Namespace(**{**vars(options), "batch": batch}))
    for _ in range(options.warm_up):
        step()
    synchronize(options.device)
    on_gpu = options.device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as run:
        step()
        synchronize(options.device)
    events = [event for event in run.key_averages() if event.device_type == DeviceType.CPU]  # kernels are their part
    key = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    rows = sorted(((getattr(event, key) / 1e3, event.count, event.key) for event in events), reverse=True)
    names = ("ms", "calls", "operation")
    return {
        "all_ms": sum(row[0] for row in rows),
        "operations": [dict(zip(names, row, strict=True)) for row in rows[:10]],
    }


def attention(options: Options, way: str, dtype: torch.dtype) -> Figures:
    """CDFA's window attention at stride 4, forward and with its backward pass."""
    function: Callable[[Tensor, Tensor], Tensor] = window_attention
    if way == "fused":
        need_triton()
        from condseg_monai.networks.ops.fused_attention import fused_window_attention as function
    side, channels, batch = (4, 8, 1) if options.dry_run else (64, 128, 16)
    torch.manual_seed(0)
    values = torch.randn(batch, channels, side, side).to(options.device, dtype).requires_grad_()
    weights = torch.randn(batch, 1, 9, 9, side, side).softmax(dim=3).to(options.device, dtype).requires_grad_()

    def forward() -> Tensor:
        with torch.no_grad():
            return function(values, weights)

    def both() -> Tensor:
        values.grad = weights.grad = None
        function(values, weights).square().mean().backward()
        return weights.grad

    forward_figures, result = measure(options, forward, batch, options.repeats["train"])
    figures, _ = measure(options, both, batch, options.repeats["train"])
    with torch.no_grad():
        expected = window_attention(values.double(), weights.double())
    difference = ((result - expected).abs().max() / expected.abs().max()).item()
    return {**figures, "forward_ms": forward_figures["ms"], "difference": difference}


def need_triton() -> None:
    """Skip the check without Triton."""
    if find_spec("triton") is None:
        raise SkippedError("Triton is not installed")


def run_gpu_tests() -> Figures:
    """The tests that need a CUDA device."""
    tests = (REPOSITORY / "tests").rglob("test_*.py")
    files = [str(path) for path in tests if "mark.gpu" in path.read_text(encoding="utf-8")]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "gpu", *files]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    summary = (result.stdout or result.stderr).strip().splitlines()[-1]
    if result.returncode:
        raise RuntimeError(f"{summary}\n{result.stdout[-4000:]}")
    return {"summary": summary}


def volumes(options: Options) -> Figures:
    """CT volumes of 100 slices of 512 x 512 in memory to labels of nine classes."""
    slices, side, image_size = (2, 32, 32) if options.dry_run else (100, 512, 224)
    array = np.random.default_rng(0).integers(-1000, 1000, (side, side, slices)).astype(np.int16)
    network = ConDSeg(out_channels=9, encoder=options.encoder or "resnet50").to(options.device).eval()
    precision = "float16" if options.device.startswith("cuda") else "float32"
    inferer = VolumeInferer(image_size=image_size, device=options.device, precision=precision)
    volume = Volume(Path("ct.nii.gz"), array, np.eye(4))
    repeats = 1 if options.dry_run else 3
    figures, _ = measure(options, lambda: torch.from_numpy(inferer(volume, network)), slices, repeats, warm_up=1)
    return {**figures, "volumes_per_minute": 6e4 / figures["ms"]}


def onnx(options: Options, job: str) -> Figures:
    """Inference of one image in ONNX Runtime, on the best provider that it has."""
    import onnxruntime

    wanted = ["TensorrtExecutionProvider", "CUDAExecutionProvider"] if options.device != "cpu" else []
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    if wanted and not providers:
        raise SkippedError("ONNX Runtime has no provider for a GPU: it needs onnxruntime-gpu")
    image = make_images(1, options.size)[0]
    file = io.BytesIO()
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: the logits are compared below
        torch.onnx.export(
            make_network(job, (), options).eval(), (image,), file, input_names=["image"], opset_version=18, dynamo=False
        )
    session = onnxruntime.InferenceSession(file.getvalue(), providers=providers or ["CPUExecutionProvider"])

    def step() -> Tensor:
        return torch.as_tensor(session.run(None, {"image": image.numpy()})[0])

    figures, result = measure(options, step, 1, options.repeats["inference"])
    expected = exact_logits(options, job)
    return {**figures, "difference": ((result - expected).abs().max() / expected.abs().max()).item()}


def training(options: Options, encoder: str) -> Figures:
    """Train as ``condseg_polyp`` was, and give the best score of its held-out images."""
    folder = options.output_dir / encoder
    command = [sys.executable, "-m", "experiments.train_polyp", "--dataset_dir", str(options.dataset_dir)]
    command += ["--output_dir", str(folder)]
    given = ["--encoder", encoder, "--batch_size", "16", "--num_workers", "8"]
    if options.dry_run:
        command += ["--held_out", "1", "--epochs", "1", "1", "1", "--image_sizes", "32", "32", "48"]
        given = ["--encoder", encoder, "--batch_size", "2", "--encoder_weights", "None", "--device", "cpu"]
        given += ["--num_workers", "0"]
    left = max(1.0, options.end - time.monotonic())
    subprocess.run([*command, "--", *given], cwd=REPOSITORY, check=True, timeout=left, stdout=subprocess.DEVNULL)
    run = json.loads((folder / "full" / "models" / "run_stage2.json").read_text(encoding="utf-8"))
    return {"score": run["best"]["value"], "metric": run["best"]["metric"], "seconds": run["result"]["seconds"]}


def record(folder: Path, row: Figures) -> None:
    """Append a check's figures to both files, and print its row."""
    append(folder / "results.jsonl", json.dumps(row, default=str))
    rows = [row]
    if "ms" not in row:  # in place of times: whatever it has
        others = {name: value for name, value in row.items() if name not in (*COLUMNS, "operations")}
        rows = [{**row, "images_per_second": others}]
    for operation in row.get("operations", ()):
        name = f"{row['check']}: {operation['operation']}, {operation['calls']} times"
        rows.append({"check": name, "ms": operation["ms"]})
    for item in rows:
        line = "| " + " | ".join(cell(item.get(column, "")) for column in COLUMNS) + " |"
        append(folder / "results.md", line)
        print(line, flush=True)


def cell(value: Any) -> str:
    """A figure or text for the table."""
    if isinstance(value, float):
        return f"{value:.3g}" if math.isfinite(value) and abs(value) < 100 else f"{value:.0f}"
    return " ".join(str(value).replace("|", "/").split())[:600]


def append(path: Path, line: str) -> None:
    """Append a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())

"""What the networks cost, without a clock: operations and bytes at fixed shapes, against the plain composition.

The bounds are what was counted when they were written, rounded up by a few hundredths: whoever exceeds one has made the
network dearer.
"""

from __future__ import annotations

import functools
import importlib
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import __main__ as command_line
from benchmarks.jobs import WAYS, make_step, make_training
from benchmarks.measure import PeakTensorBytes, interleave
from condseg_monai import ConDSeg
from condseg_monai.networks import lean
from condseg_monai.networks.blocks.convolve_upsampled_map import convolve_map_backward

SMALL = {"encoder": "resnet18", "decoder_channels": 16}


class CountOperations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def small_step(job: str, way: str):
    return make_step(job, way, size=64, batch=2, **command_line.arguments_for(job, SMALL))


def added_product(_: torch.Size, a: torch.Size, b: torch.Size, **__: Any) -> int:
    """Operations of a product that is added in place, which PyTorch's counter passes over."""
    return 2 * a[0] * a[1] * b[1]


@functools.cache
def cost(job: str, way: str) -> tuple[int, int]:
    """Floating point operations of convolutions and products, and the most bytes of tensors made in a step.

    Of the networks of the paper at its image size: the tensors have no values, so only the bookkeeping takes time.
    """
    run = make_step(job, way, size=256, device="meta")
    with PeakTensorBytes() as tensors:
        run()
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: added_product}) as operations:
        run()
    return operations.get_total_flops(), tensors.peak


@pytest.fixture(autouse=True)
def lean_small_images(monkeypatch):
    """Train on the small images of these tests as on large ones."""
    monkeypatch.setattr(lean, "_FEW_NUMBERS", 0)


@pytest.fixture
def double_precision():
    """Networks without training have huge logits: in float32 their rounding hides what is to be seen."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("job", [job for job, ways in WAYS.items() if "plain" in ways])
def test_the_plain_composition_gives_the_same_numbers(job, double_precision):
    ways = ("plain", "network", "folded") if job.startswith("inference") else ("plain", "network")
    _, results = interleave({way: small_step(job, way) for way in ways}, repeats=0)
    for way in ways[1:]:
        scale = max(1.0, results["plain"].abs().max().item())
        torch.testing.assert_close(results[way], results["plain"], rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("job", ["stage2-paper", "stage2-released", "stage2-med_disseg"])
def test_a_step_gives_the_gradients_and_statistics_of_the_plain_one_on_low_resolution_too(
    job, double_precision, monkeypatch
):
    """With 64 decoder channels: with fewer, nothing is convolved on low resolution."""
    factors: Counter[int] = Counter()

    def count(grad, x, factor, *others):
        factors[factor] += 1
        return convolve_map_backward(grad, x, factor, *others)

    module = importlib.import_module("condseg_monai.networks.blocks.convolve_upsampled")  # its function has its name
    monkeypatch.setattr(module, "convolve_map_backward", count)
    plain, plain_step = make_training(job, "plain", size=64, encoder="resnet18", decoder_channels=64)
    ours, step = make_training(job, "network", size=64, encoder="resnet18", decoder_channels=64)
    plain_step()
    assert not factors
    step()
    assert factors == {2: 23, 4: 1}
    for (name, parameter), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        assert (parameter.grad - other.grad).norm() <= 1e-10 * other.grad.norm(), name
    for (name, buffer), other in zip(ours.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize(
    ("job", "most_operations", "most_bytes"),
    [
        ("stage1", 0.40, 0.23),
        ("stage2-paper", 0.72, 0.36),
        ("stage2-released", 0.73, 0.41),
        ("stage2-med_disseg", 0.72, 0.34),
        ("inference-paper", 0.65, 0.46),
        ("inference-released", 0.66, 0.56),
    ],
)
def test_cost_stays_under_its_share_of_the_plain_composition(job, most_operations, most_bytes):
    operations, peak = cost(job, "folded" if job.startswith("inference") else "network")
    plain_operations, plain_peak = cost(job, "plain")
    assert operations <= most_operations * plain_operations
    assert peak <= most_bytes * plain_peak


def test_folded_inference_normalises_nothing_and_copies_nothing():
    run = small_step("inference-paper", "folded")
    with CountOperations() as operations:
        run()
    counts = operations.counts
    assert counts["native_batch_norm"] == counts["_native_batch_norm_legit_no_training"] == 0
    assert counts["clone"] == counts["im2col"] == counts["col2im"] == counts["bmm"] == 0


def test_the_count_of_bytes_is_that_of_what_was_made_and_is_alive():
    before = torch.ones(1000)
    with PeakTensorBytes() as tensors:
        assert before.view(10, 100).add_(1).shape == (10, 100)
        a = torch.ones(1000)
        b = a * 2
        del a
        c = b.view(10, 100) + 1
        d = c[2:].mul_(2)
    assert tensors.peak == 8000 and tensors.now == 8000 and d.shape == (8, 100)


def test_table_has_a_line_for_each_way_of_a_job(monkeypatch, capsys):
    words = (
        "--jobs inference-paper --size 32 --repeats 1 --warm_up 0 --no_process --encoder resnet18 --decoder_channels 4"
    )
    monkeypatch.setattr("sys.argv", ["benchmarks", *words.split()])
    command_line.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| inference-paper")]
    assert [line.split(" | ")[1] for line in lines] == ["plain", "network", "folded"]
    assert lines[0].endswith("|  |  | 0e+00 |")
    assert float(lines[2].split("|")[-2]) < 1e-4


def test_steps_of_a_process_have_their_times_memory_and_numbers(monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmarks", "--size", "32", "--clock", "cpu", "--process_steps", "2"])
    options = command_line.parse()
    found = command_line.process_of("stage2-paper", "network", options, {"encoder": "resnet18", "decoder_channels": 4})
    assert len(found["seconds"]) == 2 and min(found["seconds"]) > 0 and found["process"] > 1e8
    assert len(found["probe"]) == 1


def test_a_fresh_process_does_as_many_steps_as_asked_for(monkeypatch, capsys):
    words = "--jobs inference-paper --ways network --size 32 --repeats 0 --process_steps 2 --encoder resnet18"
    monkeypatch.setattr("sys.argv", ["benchmarks", *words.split()])
    asked = []

    def run(command, **options):
        asked.append(command)
        return SimpleNamespace(stdout='{"seconds": [1.0, 3.0], "process": 2e6, "probe": [0.5]}')

    monkeypatch.setattr(command_line.subprocess, "run", run)
    command_line.main()
    assert asked[0][asked[0].index("--process_steps") + 1] == "2" and "--process_of" in asked[0]
    assert capsys.readouterr().out.splitlines()[-1].split(" | ")[2::4] == ["2.00", "2"]


def test_difference_is_that_of_the_checkpoint(monkeypatch, capsys, tmp_path):
    network = ConDSeg(encoder="resnet18", decoder_channels=4)
    with torch.no_grad():
        network.output.logits.weight.zero_()
        network.output.logits.bias.fill_(3)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    words = "--jobs inference-paper --ways plain folded --size 32 --repeats 1 --warm_up 0 --no_process"
    words += f" --encoder resnet18 --decoder_channels 4 --checkpoint {tmp_path / 'model.pt'}"
    probes = []
    monkeypatch.setattr(command_line, "probe", lambda result: probes.append(result) or [result.mean().item()])
    monkeypatch.setattr("sys.argv", ["benchmarks", *words.split()])
    command_line.main()
    assert len(probes) == 2 and all(torch.equal(logits, torch.full_like(logits, 3)) for logits in probes)
    assert capsys.readouterr().out.splitlines()[-1].endswith("| 0e+00 |")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--checkpoint model.pt --jobs stage1", "one job of inference"),
        ("--checkpoint model.pt --jobs inference-paper inference-released", "one job of inference"),
        ("--checkpoint model.pt --jobs inference-paper --repeats 0", "--repeats of 1 and more"),
        ("--jobs stage1 --ways folded", "stage1 has no way folded: choose from plain, network"),
    ],
)
def test_arguments_that_do_not_go_together_end_the_command(monkeypatch, capsys, words, message):
    monkeypatch.setattr("sys.argv", ["benchmarks", *words.split()])
    with pytest.raises(SystemExit):
        command_line.parse()
    assert message in capsys.readouterr().err


def test_openvino_that_is_not_installed_ends_the_command_before_it_measures(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "--jobs", "inference-paper", "--ways", "openvino"])
    monkeypatch.setattr("condseg_monai.inference.openvino_network.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        command_line.main()
    output = capsys.readouterr()
    assert 'pip install "condseg_monai[openvino]"' in output.err and not output.out

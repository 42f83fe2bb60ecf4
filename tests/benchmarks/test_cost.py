"""The benchmarks run, and their plain composition gives the networks' numbers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from benchmarks import __main__ as command_line
from benchmarks.jobs import WAYS, make_step
from benchmarks.measure import PeakTensorBytes, interleave
from condseg_monai import ConDSeg

SMALL = {"encoder": "resnet18", "decoder_channels": 16}


def small_step(job: str, way: str):
    return make_step(job, way, size=64, batch=2, **command_line.arguments_for(job, SMALL))


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

"""The GPU check: its dry run gives every check finite figures, and a failed check is recorded and stops no other."""

import json
import math
from subprocess import DEVNULL, CompletedProcess
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from experiments import gpu_check, train_polyp


def run(monkeypatch, folder, *words):
    monkeypatch.setattr("sys.argv", ["gpu_check", "--dry_run", "--output_dir", str(folder), *words])
    status = gpu_check.main()
    return status, [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def numbers(value):
    """All numbers in figures."""
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    elif isinstance(value, float):
        yield value


# These take up to half a minute each. ONNX, TorchScript and the kernels are checked with the other network, the
# gradients of the kernels by "window attention", and compilation by the tests of the benchmarks.
LEFT_OUT = r".*compile|stage2.*fused|inference-paper, (ONNX|batch 1, fused)|inference-condseg_polyp, batch 1, script"


def in_this_process(command, **_):
    """Train without half a minute of imports."""
    assert command[1:3] == ["-m", "experiments.train_polyp"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", command[2:])
        train_polyp.main()


@pytest.mark.slow  # half a minute; the tests below run some of the checks
@pytest.mark.timeout(900)
def test_every_check_of_the_dry_run_has_finite_figures(monkeypatch, tmp_path, tiny_dataset):
    monkeypatch.setattr(gpu_check, "subprocess", SimpleNamespace(run=in_this_process, DEVNULL=DEVNULL))
    monkeypatch.setattr(gpu_check, "run_gpu_tests", dict)
    words = ["--dataset_dir", str(tiny_dataset), "--minutes", "14", "--only", f"^(?!{LEFT_OUT})"]
    status, rows = run(monkeypatch, tmp_path, *words)
    assert [row for row in rows if "error" in row] == [] and status == 0
    names = [row["check"] for row in rows]
    assert len(names) == len(set(names)) > 50
    assert {row["skipped"] for row in rows if "skipped" in row} <= {"Triton is not installed"}
    for row in rows:
        assert all(math.isfinite(value) for value in numbers(row)), row
    timed = [row for row in rows if "images_per_second" in row]
    assert all(row["low"] <= row["ms"] <= row["high"] and row["memory_mb"] > 0 for row in timed) and len(timed) > 40


def test_tests_that_need_a_gpu_are_run(monkeypatch):
    run = Mock(return_value=CompletedProcess([], 0, "...\n12 passed\n", ""))
    monkeypatch.setattr(gpu_check, "subprocess", SimpleNamespace(run=run))
    assert gpu_check.run_gpu_tests() == {"summary": "12 passed"}
    command = run.call_args.args[0]
    assert command[command.index("-m", 3) + 1] == "gpu" and len([word for word in command if word.endswith(".py")]) > 3
    run.return_value = CompletedProcess([], 1, "1 failed\n", "")
    with pytest.raises(RuntimeError, match=r"^1 failed"):
        gpu_check.run_gpu_tests()


@pytest.mark.slow
def test_failed_check_is_recorded_and_the_others_run(monkeypatch, tmp_path):
    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gpu_check, "losses", fail)
    status, rows = run(monkeypatch, tmp_path, "--only", "environment|losses in float16|profile")
    failure = "RuntimeError: out of memory"
    assert status == 1 and [row.get("error") for row in rows] == [None, failure, failure, None, None]
    assert len(rows[-1]["operations"]) == 10
    table = (tmp_path / "results.md").read_text()
    assert failure in table and rows[-1]["operations"][0]["operation"] in table


@pytest.mark.slow
def test_checks_without_time_are_named_as_skipped(monkeypatch, tmp_path):
    status, rows = run(monkeypatch, tmp_path, "--minutes", "-1")
    assert status == 0 and {row["skipped"] for row in rows} == {"no time left"}
    assert "CT volumes" in {row["check"] for row in rows}


def test_targets_are_judged_beside_the_plain_composition(monkeypatch, tmp_path):
    _, rows = run(monkeypatch, tmp_path, "--only", "inference-paper, batch 1, (network|plain|channels_last.graph)")
    graph, network, plain = rows
    assert graph["target"].startswith("difference <= 0.05, ") and isinstance(graph["met"], bool)
    assert network["difference"] < 1e-3 and plain["target"].endswith("ours no slower, ours no more memory")

"""The commands that measure run, at sizes that take seconds."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys

import pytest
import torch

from benchmarks import measure
from tests.bundle.models import save_model

TINY = ["--encoder", "resnet18", "--decoder_channels", "4", "--repeats", "1"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["benchmarks.exports", "--model", "RUN", "--formats", "onnx", "--repeats", "1"], "| onnx |"),
        (
            ["benchmarks", "--jobs", "stage1", "inference-paper", "--size", "32", *TINY],
            "| inference-paper | channels_last |",
        ),
        (
            [
                "benchmarks",
                "--jobs",
                "train-unet",
                "--ways",
                "network",
                "channels_last+bfloat16",
                "--size",
                "32",
                *TINY,
            ],
            "| train-unet | channels_last+bfloat16 |",
        ),
        (["benchmarks.pipeline", "--images", "4", "--image_size", "32", "--num_workers", "0", *TINY], "% of that"),
        (["benchmarks.volume_memory", "--slices", "3", "--size", "32", "--image_size", "32"], "volumes differ by"),
    ],
    ids=["exports", "networks", "joined ways", "pipeline", "volumes"],
)
def test_command_prints_its_table(words, expected, tmp_path, monkeypatch, capsys):
    run = str(save_model(tmp_path / "run", "unet"))
    monkeypatch.setattr(sys, "argv", [run if word == "RUN" else word for word in words])
    try:
        runpy.run_module(words[0], run_name="__main__")
    except SystemExit as end:
        assert not end.code
    assert expected in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_prediction_is_timed_in_one_process_and_by_a_cluster():
    pytest.importorskip("ray.data")
    command = ["benchmarks.ray_prediction", "--images", "12", "--image_size", "64", "--workers", "2"]
    result = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    rows = [re.fullmatch(r"\| (.+) \| ([\d.]+) \| (\d+) ms \| (\d+) s \|", line) for line in result.stdout.splitlines()]
    found = {row[1]: [float(number) for number in row.groups()[1:]] for row in rows if row}
    assert found.keys() == {"one process", "2 workers"}
    assert all(rate > 0 and milliseconds > 0 for rate, milliseconds, _ in found.values())


def test_clock_is_read_when_the_device_is_idle(monkeypatch):
    events = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: events.append("idle"))
    monkeypatch.setitem(measure.CLOCKS, "wall", lambda: float(len(events)))

    def step():
        events.append("step")
        return torch.zeros(())

    seconds, _ = measure.interleave({"": step}, 1, warm_up=0, device="cuda")
    assert events == ["idle", "step", "idle"] and seconds == {"": [2.0]}
    measure.interleave({"": step}, 1, warm_up=0, device="cpu")
    assert events[3:] == ["step"]

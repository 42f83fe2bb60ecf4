"""The commands that measure run, at sizes that take seconds."""

from __future__ import annotations

import re
import runpy
import signal
import subprocess
import sys
import time

import pytest
import torch

from benchmarks import measure, ray_prediction
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
                *("train-unet", "--ways", "network", "channels_last+bfloat16"),
                *("--size", "32", *TINY),
            ],
            "| train-unet | channels_last+bfloat16 |",
        ),
        pytest.param(
            [
                "benchmarks",
                "--jobs",
                *("inference-unet", "--ways", "compile+bfloat16", "--compile_backend", "eager"),
                *("--size", "32", *TINY),
            ],
            "| inference-unet | compile+bfloat16 |",
            marks=pytest.mark.slow,
        ),
        (["benchmarks.pipeline", "--images", "4", "--image_size", "32", "--num_workers", "0", *TINY], "% of that"),
        pytest.param(
            ["benchmarks.volume_memory", "--slices", "3", "--size", "32", "--image_size", "32"],
            "volumes differ by",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["exports", "networks", "joined ways", "compiled", "pipeline", "volumes"],
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
def test_prediction_is_timed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", "--images", "12", "--image_size", "64", "--workers", "0"])
    ray_prediction.main()
    found = re.fullmatch(
        r"\| one process \| ([\d.]+) \| (\d+) ms \| (\d+) s \|", capsys.readouterr().out.splitlines()[-1]
    )
    assert found is not None and float(found[1]) > 0 and float(found[2]) > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_processor_time_is_that_of_the_marked_workers_of_a_cluster():
    loop = "while True: pass"
    processes = [
        subprocess.Popen([name, "-c", loop], executable=sys.executable, env={ray_prediction.MARK: mark.split("_")[0]})
        for mark, name in {"mine": "ray::MapWorker", "other": "ray::MapWorker", "mine_too": "a driver"}.items()
    ]
    try:
        while not all(ray_prediction.ticks(process.pid) > 0.1 for process in processes):
            time.sleep(0.05)
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        one = ray_prediction.ticks(processes[0].pid)
        assert ray_prediction.processor_seconds(f"{ray_prediction.MARK}=mine") == one > 0
    finally:
        for process in processes:
            process.kill()
            process.wait()


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

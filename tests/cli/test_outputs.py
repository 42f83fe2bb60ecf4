"""What ``condseg predict`` keeps, refuses and makes again in a folder that has masks already."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condseg_monai.cli.commands import main
from tests.bundle.models import save_model

PLACES = ["--num_workers", "0", "--device", "cpu"]


def write_scan(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("run"))


def predict(model: Path, source: Path, out: Path, *options: str) -> int:
    return main(["predict", str(model), str(source), str(out), *PLACES, *options])


def last_line(capsys) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_another_patients_scan_of_the_same_name_is_refused(model, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(model, write_scan(tmp_path / "anna" / "scan.png", 1), out) == 0
    before = (out / "scan.png").read_bytes()
    assert predict(model, write_scan(tmp_path / "bert" / "scan.png", 2), out) == 1
    assert "scan.png" in last_line(capsys) and (out / "scan.png").read_bytes() == before


def test_another_output_leaves_the_masks_as_they_are(model, tmp_path):
    source, out = write_scan(tmp_path / "scan.png", 1), tmp_path / "out"
    assert predict(model, source, out) == 0
    before = (out / "scan.png").stat()
    assert predict(model, source, out, "--save_overlay") == 0
    assert (out / "scan.png").stat().st_mtime_ns == before.st_mtime_ns
    assert (out / "overlay" / "scan.png").is_file()


def test_masks_that_are_kept_are_counted(model, tmp_path, capsys):
    source, out = write_scan(tmp_path / "scan.png", 1), tmp_path / "out"
    assert predict(model, source, out) == 0
    capsys.readouterr()
    assert predict(model, source, out) == 0
    said = capsys.readouterr().err
    assert "0 cases to do, 1 kept" in said and "0 cases done, 1 kept" in said


def test_inputs_are_not_overwritten(model, tmp_path, capsys):
    out = tmp_path / "out"
    source = write_scan(out / "probability" / "scan.png", 1)
    before = source.read_bytes()
    assert predict(model, out / "probability", out, "--save_probability", "png") == 1
    assert source.read_bytes() == before and [*out.rglob("*.png")] == [source]
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
def test_masks_of_a_killed_run_are_not_credited_to_other_weights(model, tmp_path, capsys):
    out = tmp_path / "out"
    for number in range(100):
        write_scan(tmp_path / "images" / f"{number:03}.png", number)
    words = ["predict", str(model), str(tmp_path / "images"), str(out), *PLACES, "--batch_size", "1"]
    process = subprocess.Popen([sys.executable, "-m", "condseg_monai", *words], stderr=subprocess.DEVNULL)
    while len([*out.glob("*.png")]) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    written = len([*out.glob("*.png")])
    assert written < 100
    other = save_model(tmp_path / "other", seed=1)
    assert predict(other, tmp_path / "images", out) == 1
    assert "weights" in last_line(capsys) and len([*out.glob("*.png")]) == written
    shutil.rmtree(tmp_path / "other")
    assert predict(model, tmp_path / "images", out) == 0  # the same model goes on
    assert len([*out.glob("*.png")]) == 100

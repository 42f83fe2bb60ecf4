"""``condseg predict --ray``: what a worker does, and local clusters of which some processes are killed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from condseg_monai.cli import ray_prediction
from condseg_monai.cli.commands import main
from condseg_monai.cli.ray_prediction import Worker, _workers_of
from tests.bundle.models import save_model
from tests.ct import AFFINE, phantom, write_nifti

ORGANS = ("background", "liver", "spleen")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def ct_model(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("ct"), kind="ct", class_names=ORGANS, window_hu=(-125, 275))


def write_images(folder: Path, number: int) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(number):
        image = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    return folder


def write_scans(folder: Path, number: int) -> Path:
    for i in range(number):
        write_nifti(folder / f"scan_{i}.nii.gz", np.roll(phantom()[0], i, axis=0), AFFINE)
    return folder


def words_of(model: Path, source: Path, out: Path, *options: str) -> list[str]:
    return ["predict", str(model), str(source), str(out), "--device", "cpu", *options]


def options_of(model: Path, source: Path, out: Path, **more) -> dict:
    checkpoint = str(model / "models" / "model.pt")
    places = {"dataset_dir": str(source), "output_dir": str(out), "checkpoint": checkpoint}
    return {**places, "device": "cpu", "progress_bar": False, "precision": "float32", **more}


def files_of(out: Path, pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob(pattern))}


class TestWorker:
    def test_writes_the_masks_that_one_process_writes_and_no_record(self, model, tmp_path):
        source = write_images(tmp_path / "in", 5)
        assert main(words_of(model, source, tmp_path / "one", "--batch_size=1", "--num_workers=0")) == 0
        options = options_of(model, source, tmp_path / "out", num_workers=0, batch_size=1)
        worker = Worker(["inference"], options)
        cases = [json.dumps({"image": str(path)}) for path in sorted(source.iterdir())]
        for block in (cases[:2], cases[2:]):
            answer = worker({"case": np.array(block)})
            assert answer["failed"] == [""] * len(block) and answer["case"] == block
        assert files_of(tmp_path / "out", "*.png") == files_of(tmp_path / "one", "*.png")
        assert not (tmp_path / "out" / "inference.json").exists()

    def test_goes_on_where_an_earlier_attempt_was_cut_short(self, model, tmp_path):
        source, out = write_images(tmp_path / "in", 2), tmp_path / "out"
        out.mkdir()
        (out / "000.png").write_bytes(b"of the first attempt")
        worker = Worker(["inference"], options_of(model, source, out, num_workers=0))
        block = [json.dumps({"image": str(path)}) for path in sorted(source.iterdir())]
        assert worker({"case": block})["failed"] == ["", ""]
        assert (out / "000.png").read_bytes() == b"of the first attempt" and (out / "001.png").is_file()

    def test_names_the_case_that_failed_and_does_the_others(self, model, tmp_path):
        source = write_images(tmp_path / "in", 3)
        (source / "001.png").write_bytes(b"no image")
        worker = Worker(["inference"], options_of(model, source, tmp_path / "out", num_workers=0))
        block = [json.dumps({"image": str(path)}) for path in sorted(source.iterdir())]
        bad, good = worker({"case": block[1:2]}), worker({"case": block})
        assert "001.png" in bad["failed"][0]
        assert [bool(text) for text in good["failed"]] == [False, True, False]
        assert [*files_of(tmp_path / "out", "*.png")] == ["000.png", "002.png"]

    def test_what_ends_a_run_fails_the_block_and_not_the_worker(self, model, tmp_path):
        source = write_images(tmp_path / "in", 2)
        worker = Worker(["inference"], options_of(model, source, tmp_path / "out", num_workers=0))
        block = [json.dumps({"image": str(path)}) for path in sorted(source.iterdir())]
        worker.run = lambda: 1 / 0
        assert worker({"case": block})["failed"] == ["ZeroDivisionError: division by zero"] * 2
        assert worker({"case": block})["failed"] == ["", ""]

    def test_segments_volumes(self, ct_model, tmp_path):
        source = write_scans(tmp_path / "in", 2)
        assert main(words_of(ct_model, source, tmp_path / "one")) == 0
        worker = Worker(["inference_synapse"], options_of(ct_model, source, tmp_path / "out"))
        for path in sorted(source.iterdir()):
            case = {"image": str(path), "name": path.name.removesuffix(".nii.gz")}
            assert worker({"case": [json.dumps(case)]})["failed"] == [""]
        assert files_of(tmp_path / "out", "*.nii.gz") == files_of(tmp_path / "one", "*.nii.gz")


def test_a_worker_has_a_gpu_if_there_are_any_else_a_cpu():
    cluster = {"CPU": 16.0, "GPU": 2.0}
    assert _workers_of(cluster, None, None) == (True, 2)
    assert _workers_of(cluster, 3, "cpu") == (False, 3)
    assert _workers_of({"CPU": 4.0}, None, None) == (False, 4)
    for resources, workers, device in ((cluster, 3, None), ({"CPU": 4.0}, None, "cuda"), ({"CPU": 4.0}, 5, None)):
        with pytest.raises(ValueError, match="the cluster has"):
            _workers_of(resources, workers, device)


def test_without_ray_the_extra_is_named(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    source = write_images(tmp_path / "in", 1)
    assert main(words_of(model, source, tmp_path / "out", "--ray", "local")) == 1
    assert 'pip install "condseg_monai[ray]"' in capsys.readouterr().err.splitlines()[-1]


def test_number_of_workers_needs_ray(model, tmp_path, capsys):
    source = write_images(tmp_path / "in", 1)
    assert main(words_of(model, source, tmp_path / "out", "--ray_workers", "2")) == 2
    assert "--ray" in capsys.readouterr().err.splitlines()[-1]


def test_images_are_shared_in_blocks_and_those_of_a_block_that_is_given_up_fail(model, tmp_path, monkeypatch):
    """Without a cluster: one worker in this process, and a second block that no worker answers for."""

    def predictions(ray, todo, size, workers, has_gpu, arguments):
        assert (size, workers, has_gpu) == (3, 2, False)
        worker = Worker(*arguments)
        answers = [worker({"case": [*map(json.dumps, todo[i : i + size])]}) for i in (0, 6, 9)]
        rows = [dict(zip(answer, row, strict=True)) for answer in answers for row in zip(*answer.values(), strict=True)]
        return SimpleNamespace(iter_rows=lambda: rows)

    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0}, shutdown=lambda: None)
    monkeypatch.setattr(ray_prediction, "_load_ray", lambda: ray)
    monkeypatch.setattr(ray_prediction, "_connect", lambda *_: None)
    monkeypatch.setattr(ray_prediction, "_predictions", predictions)
    source, out = write_images(tmp_path / "in", 12), tmp_path / "out"
    words = words_of(model, source, out, "--batch_size=1", "--num_workers=0")
    assert main([*words, "--ray", "local", "--ray_workers", "2"]) == 1
    failed = json.loads((out / "inference.json").read_text())["failed"]
    assert sorted(failed) == [str(source / f"{number:03d}.png") for number in (3, 4, 5)]
    assert len(files_of(out, "*.png")) == 9
    assert main(words) == 0 and len(files_of(out, "*.png")) == 12


KILLER = """
import os, signal, sys

def kill(event, arguments):
    names = [str(argument) for argument in arguments]
    killing = event == "open" and names[0].endswith("scan_5.nii.gz")
    written = event == "os.rename" and names[1].endswith(".nii.gz")
    if (killing or written) and b"ray::MapWorker" in open("/proc/self/cmdline", "rb").read():
        if killing or (names[1].endswith("scan_7.nii.gz") and not os.path.exists({marker!r})):
            os.close(os.open({marker!r}, os.O_CREAT))
            os.kill(os.getpid(), signal.SIGKILL)
        with open({written!r}, "a") as stream:
            stream.write(os.path.basename(names[1]) + "\\n")

sys.addaudithook(kill)
"""
"""A ``sitecustomize`` that kills each worker which reads one scan, and the first that has segmented another, and notes
what the workers write."""


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs Linux's /proc to know the workers")
def test_cluster_loses_nothing_and_does_nothing_twice_if_workers_are_killed_and_gives_up_a_case_that_kills_each(
    ct_model, tmp_path, capsys
):
    pytest.importorskip("ray.data")
    source, out, site = write_scans(tmp_path / "in", 12), tmp_path / "out", tmp_path / "site"
    (source / "bad.nii.gz").write_bytes(b"no scan")
    site.mkdir()
    notes = {"marker": str(tmp_path / "killed"), "written": str(tmp_path / "written.txt")}
    (site / "sitecustomize.py").write_text(KILLER.format(**notes))
    path = os.pathsep.join([str(site), str(Path(__file__).parents[2]), os.environ["PYTHONPATH"]])
    environment = {**os.environ, "PYTHONPATH": path, "RAY_worker_niceness": "0"}
    words = [sys.executable, "-m", "condseg_monai", *words_of(ct_model, source, out), "--ray", "local"]
    run = subprocess.run([*words, "--ray_workers", "2"], env=environment, capture_output=True, text=True, timeout=700)

    assert run.returncode == 1 and (tmp_path / "killed").exists(), run.stderr
    assert "2 of 13 cases have no label" in run.stderr and "bad.nii.gz" in run.stderr, run.stderr
    assert sum(map(int, re.findall(r"\w+:\d+: (\d+)", run.stderr))) == 12  # nobody answers for the one that kills
    record = json.loads((out / "inference.json").read_text())
    assert sorted(record["failed"]) == [str(source / "bad.nii.gz"), str(source / "scan_5.nii.gz")]
    assert len(record["segmented"]) == len({*record["segmented"]}) == 11 and record["class_names"] == list(ORGANS)
    assert sorted((tmp_path / "written.txt").read_text().split()) == sorted(files_of(out, "*.nii.gz"))  # each once
    assert main(words_of(ct_model, source, tmp_path / "one")) == 1
    of_one = files_of(tmp_path / "one", "*.nii.gz")
    del of_one["scan_5.nii.gz"]
    assert files_of(out, "*.nii.gz") == of_one
    assert json.loads((tmp_path / "one" / "inference.json").read_text())["class_names"] == list(ORGANS)
    (source / "bad.nii.gz").unlink()
    assert main(words_of(ct_model, source, out)) == 0
    assert "1 cases to do, 11 kept" in capsys.readouterr().err

"""The overlay for several processes, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from PIL import Image

from condseg_monai.cli.commands import main
from condseg_monai.inference.packed_bundle import pack_bundle
from tests.bundle.models import save_model


@pytest.fixture
def options(tiny_options, tmp_path):
    del_device = {key: value for key, value in tiny_options.items() if key != "device"}
    folders = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval"), "stage1_checkpoint": None}
    return {**del_device, **folders, "batch_size": 1}


def torchrun(number, script, *words):
    """Run a script beside this file in so many processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={number}"]
    command += [str(Path(__file__).with_name(script)), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)


def run_processes(number, bundle_dir, jobs, folder):
    """Run trainings, one after the other, in so many processes."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    result = torchrun(number, "two_process_driver.py", bundle_dir, folder / "jobs.json")
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="one process on the CPU, by gloo")
@pytest.mark.parametrize(("stage", "more"), [("train_stage1", {}), ("train_stage1", {"view_passes": 2}), ("train", {})])
def test_overlay_runs_in_a_group_of_one(run_config, options, tmp_path, monkeypatch, stage, more):
    # port 0: the system chooses a free one, whatever else runs
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0, "RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    try:
        run_config(stage, "multi_gpu_train", **options, **more, finalize=[])
    finally:
        idist.finalize()  # ignite remembers the group, and leaves it here for the tests to come
    saved = torch.load(
        tmp_path / "models" / ("stage1.pt" if stage == "train_stage1" else "model.pt"), weights_only=True
    )
    assert not any(key.startswith("module.") for key in saved)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on the CPU, by gloo")
def test_two_processes_share_one_run_and_resume_it_bit_for_bit(bundle_dir, options, tmp_path):
    jobs = []
    for name, changes in (("whole", {"epochs": 3}), ("cut", {"epochs": 1}), ("cut", {"epochs": 3, "resume": True})):
        places = {"ckpt_dir": str(tmp_path / name), "output_dir": str(tmp_path / name / "eval")}
        jobs.append({**options, "early_stop_patience": 9, **places, **changes})
    run_processes(2, bundle_dir, jobs, tmp_path)
    records = [json.loads((tmp_path / name / "run_stage2.json").read_text()) for name in ("whole", "cut")]
    assert records[0]["checkpoints"] == records[1]["checkpoints"]
    assert records[0]["checkpoints"].keys() == {"model.pt", "model_final.pt"}
    assert records[1]["environment"]["processes"] == 2
    assert [entry["after_epoch"] for entry in records[1]["resumed"]] == [1]
    assert records[1]["result"]["iterations"] == 2 * 3  # four images, two at a time


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on the CPU, by gloo")
def test_group_norm_learns_alike_in_one_process_and_two(bundle_dir, options, tmp_path):
    plain = {"train#preprocessing": "@validate#preprocessing", "early_stop_patience": 9, "epochs": 3, "norm": "group"}
    found = {}
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        places = {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / "eval")}
        job = {**options, **plain, **places, "batch_size": 4 // number, "losses": str(folder / "losses.json")}
        run_processes(number, bundle_dir, [job], folder)
        record = json.loads((folder / "models" / "run_stage2.json").read_text())
        found[number] = (json.loads((folder / "losses.json").read_text()), record["result"])
    (one, result), (two, result_of_two) = found[1], found[2]
    assert len(one) == result["iterations"] == 3
    assert two == pytest.approx(one, rel=1e-4)
    assert result_of_two["last"] == pytest.approx(result["last"], abs=1e-3)


def run_inference(number, bundle, configs, folder, **options):
    """Run configs of a bundle with the overlay for several processes."""
    files = [str(bundle / "configs" / f"{name}.json") for name in (*configs, "multi_gpu_inference")]
    (folder / "files.json").write_text(json.dumps(files))
    options |= {"bundle_root": str(bundle), "num_workers": 0, "progress_bar": False}
    (folder / "options.json").write_text(json.dumps(options))
    return torchrun(number, "two_process_inference.py", folder / "files.json", folder / "options.json")


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on the CPU, by gloo")
class TestInferenceInTwoProcesses:
    @pytest.fixture(scope="class")
    def bundle(self, tmp_path_factory):
        root = tmp_path_factory.mktemp("packed")
        return pack_bundle(save_model(root / "run", "unet"), root / "unet", torchscript=False)

    def test_every_image_is_segmented_once_and_recorded_once(self, bundle, tiny_dataset, tmp_path):
        images = sorted((tiny_dataset / "images").iterdir())
        source, out, expected = tmp_path / "images", tmp_path / "out", tmp_path / "expected"
        source.mkdir()
        for image in images[:5]:
            (source / image.name).write_bytes(image.read_bytes())
        options = {"workflow_type": "infer", "dataset_dir": str(source), "output_dir": str(out), "batch_size": 1}
        result = run_inference(2, bundle, ["inference"], tmp_path, **options)
        assert result.returncode == 0, result.stderr
        assert main(["predict", str(bundle), str(source), str(expected), "--device", "cpu"]) == 0
        for image in images[:5]:
            ours, theirs = (np.asarray(Image.open(folder / f"{image.stem}.png")) for folder in (expected, out))
            assert np.array_equal(ours, theirs)
        records = [json.loads((folder / "inference.json").read_text()) for folder in (expected, out)]
        for key in ("segmented", "kept", "failed"):
            assert records[0][key] == records[1][key]
        assert records[0]["files"] == records[1]["files"]

        (out / f"{images[0].stem}.png").unlink()  # what is there is kept; of the rest, one image is damaged
        (out / f"{images[1].stem}.png").unlink()
        (out / f"{images[2].stem}.png").unlink()
        (source / images[2].name).write_bytes(b"no image")
        result = run_inference(2, bundle, ["inference"], tmp_path, **options)
        assert result.returncode != 0 and "1 of 5 cases have no mask" in result.stderr
        record = json.loads((out / "inference.json").read_text())
        assert [len(record[key]) for key in ("segmented", "kept", "failed")] == [2, 2, 1]

    def test_report_is_that_of_one_process(self, bundle, tiny_dataset, tmp_path):
        found = {}
        for number in (1, 2):
            folder = tmp_path / str(number)
            folder.mkdir()
            options = {"workflow_type": "train", "dataset_dir": str(tiny_dataset), "split": "train"}
            options |= {"output_dir": str(folder / "eval"), "batch_size": 1}
            result = run_inference(number, bundle, ["train", "evaluate"], folder, **options)
            assert result.returncode == 0, result.stderr
            rows = sorted((folder / "eval" / "scores_train.csv").read_text().splitlines())
            found[number] = (rows, json.loads((folder / "eval" / "summary_train.json").read_text()))
        (one, summary), (two, summary_of_two) = found[1], found[2]
        assert one == two  # but for their order
        assert summary_of_two["images"] == summary["images"] == 4
        assert summary_of_two["pooled"] == pytest.approx(summary["pooled"])
        assert (tmp_path / "2" / "eval" / "report_train.html").stat().st_size > 10_000

"""The overlay for several processes, on the CPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Events
from PIL import Image

from condseg_monai.cli.commands import main


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="one process on the CPU, by gloo")
@pytest.mark.parametrize(
    ("stage", "more"),
    [
        ("train_stage1", {}),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("train_stage1", {"view_passes": 2}), ("train", {}))
        ),
    ],
)
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


def job_of(folder, options, **changes):
    """A training whose files are in ``folder``."""
    places = {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / "eval")}
    return {**options, "stage1_checkpoint": None, "early_stop_patience": 9, **places, **changes}


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on the CPU, by gloo")
class TestTrainingInTwoProcesses:
    """Two processes do all the trainings, one after the other: to import what they need takes them longer."""

    @pytest.fixture(scope="class")
    @classmethod
    def alike(cls, tiny_options):
        """Options with which one process and two see the same batches of the same images."""
        return {**tiny_options, "train#preprocessing": "@validate#preprocessing", "epochs": 3, "norm": "group"}

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, bundle_dir, tiny_options, alike, tmp_path_factory):
        folder = tmp_path_factory.mktemp("two")
        options = {**tiny_options, "batch_size": 1}
        jobs = [
            job_of(folder / "whole", options, epochs=3),
            job_of(folder / "cut", options, epochs=1),
            job_of(folder / "cut", options, epochs=3, resume=True),
            job_of(folder / "alike", alike, losses=str(folder / "losses.json")),
        ]
        jobs = [{name: value for name, value in job.items() if name != "device"} for job in jobs]
        (folder / "jobs.json").write_text(json.dumps(jobs))
        result = torchrun(2, "two_process_driver.py", bundle_dir, folder / "jobs.json")
        assert result.returncode == 0, result.stderr
        return folder

    def test_they_share_one_run_and_resume_it_bit_for_bit(self, folder):
        records = [json.loads((folder / name / "models/run_stage2.json").read_text()) for name in ("whole", "cut")]
        assert records[0]["checkpoints"] == records[1]["checkpoints"]
        assert records[0]["checkpoints"].keys() == {"model.pt", "model_final.pt"}
        assert records[1]["environment"]["processes"] == 2
        assert [entry["after_epoch"] for entry in records[1]["resumed"]] == [1]
        assert records[1]["result"]["iterations"] == 2 * 3  # four images, two at a time

    def test_group_norm_learns_as_in_one_process(self, folder, alike, open_config, tmp_path):
        one = []
        workflow = open_config("train", **job_of(tmp_path, {**alike, "batch_size": 4}))
        workflow.initialize()
        workflow.trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: one.append(float(engine.state.output["loss"]))
        )
        workflow.run()
        workflow.finalize()
        result, result_of_two = (
            json.loads((place / "models/run_stage2.json").read_text())["result"]
            for place in (tmp_path, folder / "alike")
        )
        assert len(one) == result["iterations"] == 3
        assert json.loads((folder / "losses.json").read_text()) == pytest.approx(one, rel=1e-4)
        assert result_of_two["last"] == pytest.approx(result["last"], abs=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on the CPU, by gloo")
class TestInferenceInTwoProcesses:
    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, bundle, tiny_dataset, tmp_path_factory):
        """Five images, what one process makes of them, and what two do: with the last job they fail."""
        folder = tmp_path_factory.mktemp("two")
        images = sorted((tiny_dataset / "images").iterdir())[:5]
        for name in ("images", "again"):
            (folder / name).mkdir()
            for image in images:
                shutil.copy(image, folder / name)
        assert main(["predict", str(bundle), str(folder / "images"), str(folder / "one"), "--device", "cpu"]) == 0
        shutil.copytree(folder / "one", folder / "kept")
        for image in images[:3]:  # what is there is kept; of the rest, one image is damaged
            (folder / "kept" / f"{image.stem}.png").unlink()
        (folder / "again" / images[2].name).write_bytes(b"no image")
        jobs = [
            job_of_inference(bundle, "infer", ["inference"], dataset_dir=folder / "images", output_dir=folder / "out"),
            job_of_inference(
                bundle,
                "train",
                ["train", "evaluate"],
                dataset_dir=tiny_dataset,
                split="train",
                output_dir=folder / "eval",
            ),
            job_of_inference(bundle, "infer", ["inference"], dataset_dir=folder / "again", output_dir=folder / "kept"),
        ]
        (folder / "jobs.json").write_text(json.dumps(jobs))
        result = torchrun(2, "two_process_inference.py", folder / "jobs.json")
        assert result.returncode != 0 and "1 of 5 cases have no mask" in result.stderr, result.stderr
        return folder

    def test_every_image_is_segmented_once_and_recorded_once(self, folder):
        for image in (folder / "images").iterdir():
            ours, theirs = (np.asarray(Image.open(folder / name / f"{image.stem}.png")) for name in ("one", "out"))
            assert np.array_equal(ours, theirs)
        records = [json.loads((folder / name / "inference.json").read_text()) for name in ("one", "out", "kept")]
        for key in ("segmented", "kept", "failed"):
            assert records[0][key] == records[1][key]
        assert records[0]["files"] == records[1]["files"]
        assert [len(records[2][key]) for key in ("segmented", "kept", "failed")] == [2, 2, 1]

    def test_report_is_that_of_one_process(self, folder, bundle, tiny_dataset, tmp_path):
        words = ["--split", "train", "--batch_size", "1", "--device", "cpu", "--output_dir", str(tmp_path)]
        assert main(["evaluate", str(bundle), str(tiny_dataset), *words]) == 0
        found = []
        for place in (tmp_path, folder / "eval"):
            rows = sorted((place / "scores_train.csv").read_text().splitlines())
            found.append((rows, json.loads((place / "summary_train.json").read_text())))
        (one, summary), (two, summary_of_two) = found
        assert one == two  # but for their order
        assert summary_of_two["images"] == summary["images"] == 4
        assert summary_of_two["pooled"] == pytest.approx(summary["pooled"])
        assert (folder / "eval" / "report_train.html").stat().st_size > 10_000


def job_of_inference(bundle, kind, configs, **options):
    """Config files of a bundle and the overlay for several processes, with options."""
    files = [str(bundle / "configs" / f"{name}.json") for name in (*configs, "multi_gpu_inference")]
    options = {name: str(value) for name, value in options.items()}
    own = {"bundle_root": str(bundle), "num_workers": 0, "progress_bar": False, "batch_size": 1}
    return {"files": files, "workflow_type": kind, **own, **options}

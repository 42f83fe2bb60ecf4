"""The overlay for several processes, on the CPU."""

import json
import os
import subprocess
import sys

import ignite.distributed as idist
import pytest
import torch


@pytest.fixture
def knobs(tiny_knobs, tmp_path):
    del_device = {key: value for key, value in tiny_knobs.items() if key != "device"}
    folders = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval"), "stage1_checkpoint": None}
    return {**del_device, **folders, "batch_size": 1}


@pytest.mark.skipif(torch.cuda.is_available(), reason="one process on the CPU, by gloo")
@pytest.mark.parametrize("stage", ["train_stage1", "train"])
def test_overlay_runs_in_a_group_of_one(run_config, knobs, tmp_path, monkeypatch, stage):
    # port 0: the system chooses a free one, whatever else runs
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0, "RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    try:
        run_config(stage, "multi_gpu_train", **knobs, finalize=[])
    finally:
        idist.finalize()  # ignite remembers the group, and leaves it here for the tests to come
    saved = torch.load(
        tmp_path / "models" / ("stage1.pt" if stage == "train_stage1" else "model.pt"), weights_only=True
    )
    assert not any(key.startswith("module.") for key in saved)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on the CPU, by gloo")
def test_two_processes_share_one_run(bundle_dir, knobs, tmp_path):
    files = "['configs/train.json','configs/multi_gpu_train.json']"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for changes in ({"epochs": 1}, {"epochs": 3, "resume": "true"}):
        run = {**knobs, "early_stop_patience": 1, **changes}
        arguments = [f"--{name}={'$None' if value is None else value}" for name, value in run.items()]
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        command += ["-m", "monai.bundle", "run", "--config_file", files, *arguments]
        result = subprocess.run(
            command, cwd=bundle_dir, env=environment, capture_output=True, text=True, timeout=280, check=False
        )
        assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "models" / "run_stage2.json").read_text())
    assert record["environment"]["processes"] == 2
    assert [entry["after_epoch"] for entry in record["resumed"]] == [1]
    saved = torch.load(tmp_path / "models" / "resume_stage2.pt", weights_only=True)
    assert len(saved["random"]) == 2
    assert not torch.equal(*(state["torch"] for state in saved["random"]))
    assert record["result"]["iterations"] == 2 * record["result"]["epochs"]  # four images, two at a time
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [
        "model.pt",
        "model_final.pt",
        "resume_stage2.pt",
        "run_stage2.json",
    ]

"""The overlay for several processes, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ignite.distributed as idist
import pytest
import torch


@pytest.fixture
def options(tiny_options, tmp_path):
    del_device = {key: value for key, value in tiny_options.items() if key != "device"}
    folders = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval"), "stage1_checkpoint": None}
    return {**del_device, **folders, "batch_size": 1}


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
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(Path(__file__).with_name("two_process_driver.py")), str(bundle_dir), str(tmp_path / "jobs.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stderr
    records = [json.loads((tmp_path / name / "run_stage2.json").read_text()) for name in ("whole", "cut")]
    assert records[0]["checkpoints"] == records[1]["checkpoints"]
    assert records[0]["checkpoints"].keys() == {"model.pt", "model_final.pt"}
    assert records[1]["environment"]["processes"] == 2
    assert [entry["after_epoch"] for entry in records[1]["resumed"]] == [1]
    assert records[1]["result"]["iterations"] == 2 * 3  # four images, two at a time

"""Ctrl-C and SIGTERM end a training of ``python -m monai.bundle`` in order."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups")
@pytest.mark.parametrize(("number", "by"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_interrupted_training_says_what_is_saved_records_it_and_leaves_no_worker(
    bundle_dir, tiny_options, tmp_path, number, by
):
    options = {**tiny_options, "epochs": 500, "num_workers": 1, "encoder_weights": "null", "stage1_checkpoint": "null"}
    options |= {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    program = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/train_stage2.json", *words]
    with (tmp_path / "err.txt").open("w") as error:
        process = subprocess.Popen(
            program, cwd=bundle_dir, stdout=subprocess.DEVNULL, stderr=error, start_new_session=True
        )
        deadline = time.monotonic() + 200
        while not (tmp_path / "models" / "resume_stage2.state").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, number)  # as a terminal and a scheduler do: all processes of the run
        assert process.wait(timeout=100) != 0
    said = (tmp_path / "err.txt").read_text()
    last = said.splitlines()[-1]
    assert re.fullmatch(
        rf"training was stopped by {by} in epoch \d+ of 500; epoch \d+ is saved, .*--resume true.*", last
    )
    record = json.loads((tmp_path / "models" / "run_stage2.json").read_text())
    assert record["interrupted"]["by"] == by and f"epoch {record['interrupted']['saved_epoch']} is saved" in last
    assert (tmp_path / "eval" / "curves.png").is_file()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)

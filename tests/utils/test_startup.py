import subprocess
import sys

import pytest
import torch

from condseg_monai import prepare_process, prepare_run
from condseg_monai.utils.bundle_path import bundle_dir


def test_random_numbers_are_seeded_where_there_is_a_seed():
    numbers = []
    for options in ({"seed": 3}, {"seed": 3}, {"epochs": 1}):
        prepare_run(options)
        numbers.append(torch.rand(1))
    assert numbers[0] == numbers[1] != numbers[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_absent_gpu_is_refused():
    with pytest.raises(ValueError, match=r"device is cuda:0, but PyTorch .* finds no GPU"):
        prepare_run({"device": "cuda:0"})


def test_unknown_option_of_the_command_line_stops_the_run(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/x/monai/bundle/__main__.py", "run", "--batch_sise", "2"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(ValueError, match="no such option: batch_sise"):
        prepare_process()


def test_errors_of_other_programs_are_left_alone():
    hook = sys.excepthook
    prepare_process()
    assert sys.excepthook is hook


@pytest.mark.slow
def test_cause_is_the_last_line_of_monais_own_program():
    words = ["--config_file", "configs/inference.json", "--batch_size", "many"]
    program = [sys.executable, "-m", "monai.bundle", "run", *words]
    result = subprocess.run(program, cwd=bundle_dir(), capture_output=True, text=True)
    assert result.returncode == 1 and "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1] == "error: batch_size must be an integer from 1, got 'many'"

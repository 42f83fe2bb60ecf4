"""TensorBoard's event files, a folder for each run, and MLflow."""

import sys
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from condseg_monai.training.tracking import EventWriter, mlflow_handler


def steps(folder):
    return [event.step for event in EventAccumulator(str(folder)).Reload().Scalars("loss")]


def test_nothing_is_made_before_the_first_event(tmp_path):
    writer = EventWriter(tmp_path / "events")
    writer.begin()
    writer.flush()
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_each_run_has_a_folder_and_a_resumed_one_forgets_later_steps(tmp_path):
    for run in ("run_1", "run_2"):
        writer = EventWriter(tmp_path)
        assert writer.begin() == run
        for step in (1, 2, 3):
            writer.add_scalar("loss", 0.5, step)
        writer.close()
    time.sleep(1.1)  # event files are read in the order of their names, which have whole seconds
    writer = EventWriter(tmp_path)
    writer.resume("run_1", 2)
    writer.add_scalar("loss", 0.25, 3)
    writer.add_image("image", torch.zeros(3, 2, 2), 3)
    writer.close()
    assert (steps(tmp_path / "run_1"), steps(tmp_path / "run_2")) == ([1, 2, 3], [1, 2, 3])
    assert EventAccumulator(str(tmp_path / "run_1")).Reload().Scalars("loss")[-1].value == 0.25


def test_missing_mlflow_is_an_error_that_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "condseg_monai\[mlflow\]"'):
        mlflow_handler(tmp_path, "run")

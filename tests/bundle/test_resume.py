"""A run that is killed and resumed ends as one that was never interrupted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from condseg_monai.utils.files import file_sha256
from tests.runs import equal, folders, names, state, train

DRIVER = Path(__file__).with_name("resume_driver.py")
FILES = {
    "train_stage1": (
        *("stage1.pt", "stage1.json", "stage1_final.pt", "stage1_final.json"),
        *("resume_stage1.state", "run_stage1.json"),
    ),
    "train_stage2": (
        *("model.pt", "model.json", "model_final.pt", "model_final.json"),
        *("resume_stage2.state", "run_stage2.json"),
    ),
}
EPOCHS = 3


@pytest.fixture
def options(tiny_options):
    return {
        **tiny_options,
        "epochs": EPOCHS,
        "stage1_checkpoint": None,
        "early_stop_patience": 9,
        "plateau_patience": 1,
        "learning_rate": 0.01,  # so that validation scores move
    }


def record(path, stage):
    return json.loads((path / "models" / FILES[stage][-1]).read_text())


def assert_same_end(stage, expected, found):
    best, _, final, _, resume, _ = FILES[stage]
    for name in (best, final, resume):
        ends = [state(path / "models" / name) for path in (expected, found)]
        for end in ends:
            end.pop("seconds", None)
        assert equal(*ends), name
    histories = [(path / "eval" / f"history_{stage[6:]}.csv").read_text() for path in (expected, found)]
    assert histories[0] == histories[1] and len(histories[0].splitlines()) == 1 + EPOCHS
    records = [record(path, stage) for path in (expected, found)]
    for key in ("best", "checkpoints"):
        assert records[0][key] == records[1][key], key
    assert records[0]["checkpoints"].keys() == {best, final}
    assert "result" in records[1]


CHAINS = {  # where the processes of a run are killed, one after the other; the last one ends
    "train_stage1": {
        "before the first checkpoint": [["iteration", 2]],
        "within two epochs": [["iteration", 3], ["iteration", 6]],
        "while the best checkpoint is written": [["write", "stage1.pt", 1]],
        "while the state is written": [["write", "resume_stage1.state", 2]],
        "while the state of the ended run is written": [["write", "resume_stage1.state", EPOCHS]],
        "while the final checkpoint is written": [["write", "stage1_final.pt", 1]],
    },
    "train_stage2": {"while the state is written": [["write", "resume_stage2.state", 2]]},
}


@pytest.mark.slow
@pytest.mark.timeout(600)  # eighteen trainings
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_runs_end_as_one_never_interrupted(bundle_dir, options, tmp_path):
    jobs = []
    for stage, chains in CHAINS.items():
        for name, kills in {"whole": [], **chains}.items():
            path = tmp_path / stage / name
            path.mkdir(parents=True)
            for number, kill in enumerate([*kills, None]):
                job = {"files": str(bundle_dir / "configs" / f"{stage}.json"), "losses": str(path / "losses.txt")}
                jobs.append({**job, "options": {**options, **folders(path), "resume": number > 0}, "kill": kill})
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    result = subprocess.run(
        [sys.executable, str(DRIVER), str(tmp_path / "jobs.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    for stage, chains in CHAINS.items():
        whole = tmp_path / stage / "whole"
        expected = (whole / "losses.txt").read_text().splitlines()
        assert len(expected) == 2 * EPOCHS
        for name in chains:
            path = tmp_path / stage / name
            found = (path / "losses.txt").read_text().splitlines()
            assert sorted(set(found)) == sorted(expected), path  # what was lost is repeated, with the same losses
            assert_same_end(stage, whole, path)
            assert names(path / "models") == sorted(FILES[stage]), path
    resumed = record(tmp_path / "train_stage1" / "within two epochs", "train_stage1")["resumed"]
    assert [entry["after_epoch"] for entry in resumed] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "extra"),
    [
        ("train_stage1", {"num_workers": 2}),
        ("train_stage2", {"save_interval": 2, "cache": 0.5, "ema_decay": 0.9, "gradient_clip": 1.0}),
    ],
)
def test_run_that_failed_is_resumed(open_config, options, tmp_path, stage, extra):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options |= extra
    expected = train(open_config, [stage], whole, **options)
    before = train(open_config, [stage], cut, interrupt=6, **options)
    after = train(open_config, [stage], cut, **options, resume=True)
    assert min(after) == 5
    assert {**before, **after} == expected
    assert_same_end(stage, whole, cut)
    assert len(record(cut, stage)["resumed"]) == 1
    assert record(whole, stage)["resumed"] == []
    assert names(cut / "models") == sorted(FILES[stage])
    written = EventAccumulator(
        str(cut / "eval" / "tensorboard" / stage.removeprefix("train_") / "run_1"), {"scalars": 0}
    )
    written.Reload()
    assert [event.step for event in written.Scalars("loss/total")] == list(range(1, 2 * EPOCHS + 1))
    assert [event.step for event in written.Scalars("val_mean_iou")] == list(range(1, EPOCHS + 1))


def test_results_of_another_run_are_refused_before_any_work(open_config, options, tmp_path):
    train(open_config, ["train_stage1"], tmp_path, **{**options, "epochs": 1})
    before = {name: file_sha256(tmp_path / "models" / name) for name in names(tmp_path / "models")}
    workflow = open_config("train_stage1", **folders(tmp_path), **{**options, "encoder_weights": "missing.pth"})
    workflow.initialize()
    with pytest.raises(RuntimeError) as error:
        workflow.run()
    message = str(error.value.__cause__)
    assert all(word in message for word in ("stage1.pt", "--resume true", "--overwrite true"))
    assert {name: file_sha256(tmp_path / "models" / name) for name in names(tmp_path / "models")} == before


@pytest.mark.slow
def test_other_options_and_cases_are_refused_by_name(open_config, options, tiny_dataset, tmp_path):
    train(open_config, ["train_stage2"], tmp_path, **{**options, "epochs": 1})
    before = {name: file_sha256(tmp_path / "models" / name) for name in names(tmp_path / "models")}
    data = [{"image": str(tiny_dataset / "images/train_0.png"), "label": str(tiny_dataset / "masks/train_0.png")}] * 4
    changed = {"encoder": "resnet34", "image_size": 64, "cdfa_window": 5, "train#dataset#data": data}
    workflow = open_config("train_stage2", **folders(tmp_path), **{**options, **changed, "resume": True})
    workflow.initialize()
    with pytest.raises(RuntimeError) as error:
        workflow.run()
    message = str(error.value.__cause__)
    assert "encoder was resnet18, now is resnet34" in message
    assert "image_size was 32, now is 64" in message
    assert "cdfa_window was 3, now is 5" in message
    assert "train list was" in message
    assert "batch_size" not in message
    assert {name: file_sha256(tmp_path / "models" / name) for name in names(tmp_path / "models")} == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("stage", FILES)
def test_resumed_float16_run_on_a_gpu_has_the_losses_and_the_scale_of_one_never_interrupted(
    open_config, options, tmp_path, stage
):
    options = {**options, "device": "cuda", "precision": "float16", "num_workers": 2}
    whole = train(open_config, [stage], tmp_path / "whole", **options)
    first = train(open_config, [stage], tmp_path / "parts", interrupt=4, **options)
    second = train(open_config, [stage], tmp_path / "parts", resume=True, **options)
    found = {**first, **second}
    assert found.keys() == whole.keys()
    for iteration, loss in whole.items():  # sums of a GPU come in any order
        assert found[iteration] == pytest.approx(loss, rel=0.02)
    scales = [state(tmp_path / part / "models" / FILES[stage][4])["scaler"]["scale"] for part in ("whole", "parts")]
    assert scales[0] == scales[1] > 0

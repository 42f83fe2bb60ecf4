"""A run that is killed and resumed ends as one that was never interrupted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from condseg_monai.utils.files import file_sha256
from tests.states import equal

DRIVER = Path(__file__).with_name("resume_driver.py")
FILES = {
    "train_stage1": ("stage1.pt", "stage1_final.pt", "resume_stage1.pt", "run_stage1.json"),
    "train_stage2": ("model.pt", "model_final.pt", "resume_stage2.pt", "run_stage2.json"),
}
EPOCHS = 3


class InterruptedRunError(Exception):
    pass


@pytest.fixture
def knobs(tiny_knobs):
    return {
        **tiny_knobs,
        "epochs": EPOCHS,
        "stage1_checkpoint": None,
        "early_stop_patience": 9,
        "plateau_patience": 1,
        "learning_rate": 0.01,  # so that validation scores move
    }


def folders(path):
    return {"ckpt_dir": str(path / "models"), "output_dir": str(path / "eval")}


def state(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def record(path, stage):
    return json.loads((path / "models" / FILES[stage][3]).read_text())


def names(path):
    return sorted(file.name for file in (path / "models").iterdir() if file.suffix != ".lock")


def train(open_config, stage, path, interrupt=None, **knobs):
    """Run a stage in this process and return the loss of each iteration; stop before the step of one of them."""
    workflow = open_config(stage, **folders(path), **knobs)
    workflow.initialize()
    losses = {}

    def stop(engine):
        if engine.state.iteration == interrupt:
            raise InterruptedRunError

    def note(engine):
        losses[engine.state.iteration] = engine.state.output["loss"].item()

    workflow.trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    workflow.trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    if interrupt is None:
        workflow.run()
    else:
        with pytest.raises(RuntimeError) as error:
            workflow.run()
        assert isinstance(error.value.__cause__, InterruptedRunError)
    workflow.finalize()
    return losses


def assert_same_end(stage, expected, found):
    best, final, resume, _ = FILES[stage]
    for name in (best, final, resume):
        ends = [state(path / "models" / name) for path in (expected, found)]
        for end in ends:
            end.pop("seconds", None)
        assert equal(*ends), name
    records = [record(path, stage) for path in (expected, found)]
    for key in ("best", "checkpoints"):
        assert records[0][key] == records[1][key], key
    assert records[0]["checkpoints"].keys() == {best, final}
    assert "result" in records[1]


KILLS = {
    "before the first checkpoint": ["iteration", 2],
    "within the second epoch": ["iteration", 4],
    "while the state is written": ["write", "resume_{stage}.pt", 2],
    "while the last checkpoint is written": ["write", "{final}", 1],
    "while the best checkpoint is written": ["write", "{best}", 1],
    "while the state of the ended run is written": ["write", "resume_{stage}.pt", EPOCHS],
}


@pytest.mark.slow
@pytest.mark.timeout(900)  # a dozen trainings
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(
    ("stage", "moments"), [("train_stage1", list(KILLS)), ("train_stage2", ["while the state is written"])]
)
def test_killed_runs_end_as_one_never_interrupted(bundle_dir, knobs, stage, moments, tmp_path):
    jobs = []

    def add(path, kill=None, **extra):
        path.mkdir(exist_ok=True)
        jobs.append(
            {
                "files": str(bundle_dir / "configs" / f"{stage}.json"),
                "knobs": {**knobs, **folders(path), **extra},
                "kill": kill,
                "losses": str(path / "losses.txt"),
            }
        )

    add(tmp_path / "whole")
    fill = {"stage": stage.removeprefix("train_"), "best": FILES[stage][0], "final": FILES[stage][1]}
    for moment in moments:
        path = tmp_path / moment
        add(path, [word.format(**fill) if isinstance(word, str) else word for word in KILLS[moment]])
        add(path, resume=True)
    twice = tmp_path / "twice"
    add(twice, ["iteration", 3])
    add(twice, ["iteration", 6], resume=True)
    add(twice, resume=True)
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, str(DRIVER), str(tmp_path / "jobs.json")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    expected = (tmp_path / "whole" / "losses.txt").read_text().splitlines()
    assert len(expected) == 2 * EPOCHS
    for path in [*(tmp_path / moment for moment in moments), twice]:
        found = (path / "losses.txt").read_text().splitlines()
        assert sorted(set(found)) == sorted(expected), path  # what was lost is repeated, with the same losses
        assert_same_end(stage, tmp_path / "whole", path)
        assert names(path) == sorted(FILES[stage]), path
    assert [entry["after_epoch"] for entry in record(twice, stage)["resumed"]] == [1, 2]


@pytest.mark.parametrize(
    ("stage", "extra"), [("train_stage1", {"num_workers": 2}), ("train_stage2", {"save_interval": 2, "cache": 0.5})]
)
def test_run_that_failed_is_resumed(open_config, knobs, tmp_path, stage, extra):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    knobs |= extra
    expected = train(open_config, stage, whole, **knobs)
    before = train(open_config, stage, cut, interrupt=6, **knobs)
    after = train(open_config, stage, cut, **knobs, resume=True)
    assert min(after) == 5
    assert {**before, **after} == expected
    assert_same_end(stage, whole, cut)
    assert len(record(cut, stage)["resumed"]) == 1
    assert record(whole, stage)["resumed"] == []
    assert names(cut) == sorted(FILES[stage])


def test_failed_run_leaves_no_final_checkpoint(open_config, knobs, tmp_path):
    train(open_config, "train_stage1", tmp_path, interrupt=6, **knobs)
    assert names(tmp_path) == ["resume_stage1.pt", "run_stage1.json", "stage1.pt"]


def test_ended_run_is_left_as_it_is_until_it_has_more_epochs(open_config, knobs, tmp_path, caplog):
    expected = train(open_config, "train_stage2", tmp_path / "whole", **knobs)
    first = train(open_config, "train_stage2", tmp_path, **{**knobs, "epochs": 2})
    before = {name: file_sha256(tmp_path / "models" / name) for name in FILES["train_stage2"]}
    assert train(open_config, "train_stage2", tmp_path, **{**knobs, "epochs": 2}, resume=True) == {}
    assert "has ended already, after 2 of 2 epochs" in caplog.text
    assert {name: file_sha256(tmp_path / "models" / name) for name in names(tmp_path)} == before
    more = train(open_config, "train_stage2", tmp_path, **knobs, resume=True)
    assert {**first, **more} == expected
    assert_same_end("train_stage2", tmp_path / "whole", tmp_path)


def test_nothing_to_resume_starts_from_the_beginning(open_config, knobs, tmp_path, caplog):
    losses = train(open_config, "train_stage1", tmp_path, **{**knobs, "epochs": 1}, resume=True)
    assert sorted(losses) == [1, 2]
    assert "so training starts from the beginning" in caplog.text


def test_results_of_another_run_are_refused_before_any_work(open_config, knobs, tmp_path):
    train(open_config, "train_stage1", tmp_path, **{**knobs, "epochs": 1})
    before = {name: file_sha256(tmp_path / "models" / name) for name in names(tmp_path)}
    workflow = open_config("train_stage1", **folders(tmp_path), **{**knobs, "encoder_weights": "missing.pth"})
    workflow.initialize()
    with pytest.raises(RuntimeError) as error:
        workflow.run()
    message = str(error.value.__cause__)
    assert all(word in message for word in ("stage1.pt", "--resume true", "--overwrite true"))
    assert {name: file_sha256(tmp_path / "models" / name) for name in names(tmp_path)} == before


def test_overwrite_leaves_nothing_of_the_other_run(open_config, knobs, tmp_path):
    earlier = train(open_config, "train_stage1", tmp_path, **{**knobs, "epochs": 1})
    other = {**knobs, "seed": 1, "overwrite": True}
    train(open_config, "train_stage1", tmp_path, interrupt=2, **other)
    assert names(tmp_path) == ["run_stage1.json"]
    resumed = train(open_config, "train_stage1", tmp_path, **{**other, "epochs": 1}, resume=True)
    assert sorted(resumed) == [1, 2]
    assert resumed != earlier


def test_other_settings_are_refused_by_name(open_config, knobs, tmp_path):
    train(open_config, "train_stage2", tmp_path, **{**knobs, "epochs": 1})
    before = {name: file_sha256(tmp_path / "models" / name) for name in names(tmp_path)}
    workflow = open_config(
        "train_stage2", **folders(tmp_path), **{**knobs, "encoder": "resnet34", "image_size": 64, "resume": True}
    )
    workflow.initialize()
    with pytest.raises(RuntimeError) as error:
        workflow.run()
    message = str(error.value.__cause__)
    assert "encoder was resnet18, now is resnet34" in message
    assert "image_size was 32, now is 64" in message
    assert "batch_size" not in message
    assert {name: file_sha256(tmp_path / "models" / name) for name in names(tmp_path)} == before


def test_other_cases_are_refused(open_config, knobs, tmp_path, tiny_dataset):
    train(open_config, "train_stage1", tmp_path, **{**knobs, "epochs": 1})
    data = [{"image": str(tiny_dataset / "images/train_0.png"), "label": str(tiny_dataset / "masks/train_0.png")}] * 4
    workflow = open_config("train_stage1", **folders(tmp_path), **knobs, resume=True, **{"train#dataset#data": data})
    workflow.initialize()
    with pytest.raises(RuntimeError) as error:
        workflow.run()
    assert "train list was" in str(error.value.__cause__)


def test_broken_state_is_named(open_config, knobs, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "resume_stage1.pt").write_bytes(b"half")
    workflow = open_config("train_stage1", **folders(tmp_path), **knobs, resume=True)
    workflow.initialize()
    with pytest.raises(RuntimeError) as error:
        workflow.run()
    assert "resume_stage1.pt cannot be read as a training state" in str(error.value.__cause__)


def test_best_checkpoint_is_not_replaced_by_a_worse_one(open_config, knobs, tmp_path):
    """The score to beat is that of the run before it was cut: nothing that follows beats a perfect one."""
    train(open_config, "train_stage2", tmp_path, **{**knobs, "epochs": 2})
    path = tmp_path / "models" / "resume_stage2.pt"
    torch.save({**state(path), "best_metric": 1.0, "best_metric_epoch": 1}, path)
    best = file_sha256(tmp_path / "models" / "model.pt")
    train(open_config, "train_stage2", tmp_path, **knobs, resume=True)
    assert file_sha256(tmp_path / "models" / "model.pt") == best


def test_state_is_never_behind_the_best_checkpoint(open_config, knobs, tmp_path):
    """Otherwise a repeated epoch, which may end a little lower on a GPU, would leave a score without its weights."""
    train(open_config, "train_stage2", tmp_path, interrupt=5, **knobs, save_interval=9)
    epoch = record(tmp_path, "train_stage2")["best"]["epoch"]
    saved = state(tmp_path / "models" / "resume_stage2.pt")
    assert saved["epoch"] == saved["best_metric_epoch"] == epoch
    assert equal(saved["network"], state(tmp_path / "models" / "model.pt"))


def test_run_stopped_from_the_keyboard_is_resumed(open_config, knobs, tmp_path):
    knobs |= {"stage1_checkpoint": "null"}  # as the command line hands it over
    workflow = open_config("train_stage2", **folders(tmp_path), **knobs)
    workflow.initialize()

    def stop(engine):
        if engine.state.iteration == 4:
            raise KeyboardInterrupt

    workflow.trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    with pytest.raises(KeyboardInterrupt, match="--resume true"):
        workflow.run()
    workflow.finalize()
    assert "result" not in record(tmp_path, "train_stage2")
    assert sorted(train(open_config, "train_stage2", tmp_path, **knobs, resume=True)) == [3, 4, 5, 6]
    assert record(tmp_path, "train_stage2")["result"]["epochs"] == EPOCHS


def test_early_stop_counts_on(open_config, knobs, tmp_path, caplog):
    constant = {
        "_target_": "ignite.metrics.EpochMetric",
        "compute_fn": "$lambda pred, label: 0.5",
        "output_transform": "$lambda output: (torch.zeros(1), torch.zeros(1))",
    }
    knobs |= {"epochs": 9, "early_stop_patience": 3, "validate#additional_metrics": {}}
    knobs["validate#key_metric"] = {"val_mean_iou": constant}
    train(open_config, "train_stage1", tmp_path, interrupt=6, **knobs)
    losses = train(open_config, "train_stage1", tmp_path, **knobs, resume=True)
    assert max(losses) == 8  # the first score and three that are no better, over both processes
    assert train(open_config, "train_stage1", tmp_path, **knobs, resume=True) == {}
    assert "has ended already, after an early stop" in caplog.text


def test_tensorboard_has_each_step_once(open_config, knobs, tmp_path):
    train(open_config, "train_stage1", tmp_path, interrupt=6, **knobs)
    train(open_config, "train_stage1", tmp_path, **knobs, resume=True)
    written = EventAccumulator(str(tmp_path / "eval" / "tensorboard" / "stage1"), size_guidance={"scalars": 0})
    written.Reload()
    assert [event.step for event in written.Scalars("loss/total")] == list(range(1, 2 * EPOCHS + 1))
    assert [event.step for event in written.Scalars("val_mean_iou")] == list(range(1, EPOCHS + 1))

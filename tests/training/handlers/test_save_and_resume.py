"""Save a training run's weights and record, and resume it from the last complete epoch."""

import errno
import json
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from condseg_monai.data.lists.datalist import content_hash, datalist_hash
from condseg_monai.networks.methods import METHODS
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.training.handlers.early_stop import EarlyStop
from condseg_monai.training.handlers.epoch_seed import EpochSeed
from condseg_monai.training.handlers.save_and_resume import SaveAndResume
from condseg_monai.training.handlers.training_history import TrainingHistory
from condseg_monai.training.run_folder import RunFolder
from condseg_monai.training.tracking import EventWriter
from condseg_monai.training.trainer import GuardedTrainer
from condseg_monai.utils.files import file_sha256
from condseg_monai.utils.interruption import Terminated
from tests.runs import names, weights

FILES = ["final.pt", "model.pt", "resume_run.state", "run_run.json"]
RISING = [0.1 * epoch for epoch in range(1, 10)]


@pytest.fixture
def cases(tmp_path):
    return cases_in(tmp_path / "data")


def cases_in(folder):
    """Two cases, whose files have some content."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
        for i in range(2):
            (folder / name / f"{i}.png").write_text(f"{name} {i}")
    return [{"image": str(folder / "images" / f"{i}.png"), "label": str(folder / "masks" / f"{i}.png")} for i in (0, 1)]


def trainer_for(
    path, epochs=3, scores=RISING, resume=False, overwrite=False, patience=99, interval=1, first=(), **kwargs
):
    """A trainer of two iterations an epoch, whose validation gives ``scores`` in turn."""
    torch.manual_seed(0)
    data = [{"image": torch.rand(1, 2, 2), "label": torch.rand(1, 2, 2)} for _ in range(4)]
    network = nn.Conv2d(1, 1, 1)
    evaluator = SupervisedEvaluator("cpu", [0], network, iteration_update=lambda engine, batch: None)
    evaluator.state.key_metric_name = "score"

    @evaluator.on(Events.EPOCH_COMPLETED)
    def score(engine):
        state = engine.state
        state.metrics = {"score": scores[state.epoch - 1]}
        if state.metrics["score"] > state.best_metric:
            state.best_metric, state.best_metric_epoch = state.metrics["score"], state.epoch

    folder = RunFolder({"ckpt_dir": path, "resume": resume, "overwrite": overwrite}, "run", ["model.pt", "final.pt"])
    handlers = [
        *first,
        SaveAndResume(folder, network, evaluator, {"model.pt": network}, {"final.pt": network}, **kwargs),
        EarlyStop(evaluator, patience),
        ValidationHandler(interval, evaluator),
        EpochSeed(0),
    ]
    return GuardedTrainer(
        "cpu",
        epochs,
        DataLoader(Dataset(data), batch_size=2, shuffle=True),
        network,
        torch.optim.Adam(network.parameters()),
        nn.MSELoss(),
        decollate=False,
        train_handlers=handlers,
        run_folder=folder,
    )


def saved(path, name="resume_run.state"):
    return torch.load(path / name, weights_only=True)


def record(path):
    return json.loads((path / "run_run.json").read_text())


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_best_and_final_are_bare_state_dicts_of_their_epochs(tmp_path):
    trainer, after = trainer_for(tmp_path, scores=[0.1, 0.5, 0.3]), {}
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: after.update({engine.state.epoch: weights(engine)}))
    trainer.run()
    assert names(tmp_path) == FILES
    assert same(saved(tmp_path, "model.pt"), after[3])
    assert same(saved(tmp_path, "final.pt"), weights(trainer))


def test_record_holds_options_splits_start_best_result_and_the_hash_of_every_file(tmp_path, cases):
    (tmp_path / "stage1.pt").write_bytes(b"weights")
    trainer = trainer_for(
        tmp_path / "run",
        scores=[0.1, 0.5, 0.3],
        options={"encoder": "a"},
        splits={"train": cases},
        starts_from=str(tmp_path / "stage1.pt"),
    )
    trainer.run()
    found = record(tmp_path / "run")
    assert found["options"] == {"encoder": "a"}
    hashes = {"sha256": datalist_hash(cases), "files_sha256": content_hash(cases)}
    assert found["splits"] == {"train": {"count": 2, **hashes}}
    assert found["starts_from"]["sha256"] == file_sha256(tmp_path / "stage1.pt")
    assert found["environment"]["packages"]["monai"] and found["environment"]["command"]
    assert found["best"] == {"metric": "score", "value": 0.5, "epoch": 2, "interval_95": None}
    assert found["checkpoints"] == {name: file_sha256(tmp_path / "run" / name) for name in ("model.pt", "final.pt")}
    result = found["result"]
    assert (result["epochs"], result["max_epochs"], result["iterations"], result["last"]) == (3, 3, 6, {"score": 0.3})


def test_null_on_the_command_line_is_no_checkpoint_to_start_from(tmp_path):
    trainer_for(tmp_path, epochs=1, starts_from="null").run()
    assert record(tmp_path)["starts_from"] is None


def test_state_is_saved_every_interval_with_every_best_and_at_the_end(tmp_path):
    trainer, found = trainer_for(tmp_path, epochs=6, scores=[0.1, 0.3, 0.2, 0.2, 0.2, 0.2], save_interval=4), []

    @trainer.on(Events.EPOCH_STARTED)
    def look(engine):
        found.append(saved(tmp_path)["epoch"] if (tmp_path / "resume_run.state").exists() else 0)

    trainer.run()
    assert found == [0, 1, 2, 2, 4, 4]
    assert (saved(tmp_path)["epoch"], saved(tmp_path)["iteration"]) == (6, 12)


def test_interval_of_zero_saves_no_state_and_a_negative_one_raises(tmp_path):
    trainer_for(tmp_path, save_interval=0).run()
    assert names(tmp_path) == [name for name in FILES if name != "resume_run.state"]
    with pytest.raises(ValueError, match="save_interval must be >= 0 epochs, got -1"):
        trainer_for(tmp_path, save_interval=-1)


def test_file_that_the_folder_does_not_know_raises(tmp_path):
    folder, network = RunFolder({"ckpt_dir": tmp_path}, "run", ["model.pt"]), nn.Identity()
    with pytest.raises(ValueError, match=r"\['other.pt'\] must be among the folder's checkpoints"):
        SaveAndResume(folder, network, trainer_for(tmp_path), {"model.pt": network}, {"other.pt": network})


def test_resumed_training_is_bit_for_bit_the_same(tmp_path):
    whole = trainer_for(tmp_path / "whole", epochs=4)
    whole.run()
    trainer_for(tmp_path / "cut", epochs=2).run()
    resumed = trainer_for(tmp_path / "cut", epochs=4, resume=True)
    resumed.run()
    assert same(weights(whole), weights(resumed))
    assert record(tmp_path / "whole")["checkpoints"] == record(tmp_path / "cut")["checkpoints"]
    assert [entry["after_epoch"] for entry in record(tmp_path / "cut")["resumed"]] == [2]


def test_run_that_was_stopped_within_an_epoch_is_resumed_from_the_epoch_before(tmp_path):
    trainer = trainer_for(tmp_path)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda engine: engine.terminate())
    trainer.run()
    assert "result" not in record(tmp_path) and "final.pt" not in names(tmp_path)
    resumed = trainer_for(tmp_path, resume=True)
    resumed.run()
    assert (resumed.state.epoch, resumed.state.iteration) == (3, 6)
    assert record(tmp_path)["result"]["epochs"] == 3


def test_what_a_killed_run_could_not_write_is_written_on_resume(tmp_path):
    whole = trainer_for(tmp_path)
    whole.run()
    content, found = {name: (tmp_path / name).read_bytes() for name in ("model.pt", "final.pt")}, record(tmp_path)
    for name in content:
        (tmp_path / name).unlink()
    without = {key: value for key, value in found.items() if key not in ("result", "best")}
    (tmp_path / "run_run.json").write_text(json.dumps({**without, "checkpoints": {}}))
    trainer_for(tmp_path, resume=True).run()
    assert {name: (tmp_path / name).read_bytes() for name in content} == content
    assert all(record(tmp_path)[key] == found[key] for key in ("best", "checkpoints"))
    assert record(tmp_path)["result"]["epochs"] == 3


def test_best_checkpoint_of_the_run_before_is_replaced_by_a_better_one_only(tmp_path):
    scores = [0.9, 0.1, 0.5, 0.95]
    trainer_for(tmp_path, epochs=2, scores=scores).run()
    best = file_sha256(tmp_path / "model.pt")
    trainer_for(tmp_path, epochs=3, scores=scores, resume=True).run()
    assert file_sha256(tmp_path / "model.pt") == best
    trainer_for(tmp_path, epochs=4, scores=scores, resume=True).run()
    assert file_sha256(tmp_path / "model.pt") != best
    assert record(tmp_path)["best"] == {"metric": "score", "value": 0.95, "epoch": 4, "interval_95": None}


def test_nothing_to_resume_starts_from_the_beginning_and_says_so(tmp_path, caplog):
    trainer = trainer_for(tmp_path, resume=True)
    trainer.run()
    assert trainer.state.iteration == 6
    assert "so training starts from the beginning" in caplog.text


def test_damaged_state_and_one_of_an_earlier_version_are_named(tmp_path):
    trainer_for(tmp_path).run()
    torch.save({**saved(tmp_path), "version": 1}, tmp_path / "resume_run.state")
    with pytest.raises(ValueError, match=r"resume_run\.state has version 1, this package reads 3"):
        trainer_for(tmp_path, resume=True).run()
    (tmp_path / "resume_run.state").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"resume_run\.state cannot be read as a training state"):
        trainer_for(tmp_path, resume=True).run()


@pytest.mark.parametrize("early", [False, True])
def test_ended_run_stays_as_it_is(tmp_path, early, caplog):
    options = {"epochs": 9, "patience": 2} if early else {"epochs": 3}
    trainer_for(tmp_path, scores=[0.5] + 8 * [0.1], **options).run()
    before = {name: file_sha256(tmp_path / name) for name in names(tmp_path)}
    resumed = trainer_for(tmp_path, scores=[0.5] + 8 * [0.1], **options, resume=True)
    resumed.run()
    assert resumed.state.iteration == 6
    assert {name: file_sha256(tmp_path / name) for name in names(tmp_path)} == before
    assert f"has ended already, after {'an early stop' if early else '3 of 3 epochs'}" in caplog.text


def test_early_stop_counts_from_the_best_epoch_of_the_run_before(tmp_path):
    scores = [0.5] + 8 * [0.1]
    trainer_for(tmp_path, epochs=2, scores=scores, patience=4).run()
    resumed = trainer_for(tmp_path, epochs=9, scores=scores, patience=4, resume=True)
    resumed.run()
    assert resumed.state.epoch == 5
    assert record(tmp_path)["best"]["epoch"] == 1


def test_gradient_scaler_is_restored(tmp_path):
    class Scaler(torch.amp.GradScaler):
        """In place of MONAI's, which is made anew for each run and does nothing without a GPU."""

        def __init__(self, scale):
            super().__init__("cpu", init_scale=scale, growth_interval=7)

        def attach(self, engine):
            engine.add_event_handler(Events.STARTED, lambda engine: setattr(engine, "scaler", self))

    trainer_for(tmp_path, epochs=2, first=[Scaler(1024.0)]).run()
    scaler = Scaler(2.0)
    trainer_for(tmp_path, resume=True, first=[scaler]).run()
    assert scaler.get_scale() == 1024.0 and scaler.state_dict()["growth_interval"] == 7


def test_other_cases_and_options_are_named(tmp_path, cases):
    first = {"encoder": "a", "image_size": 32, "num_workers": 0, "loss": "x"}
    trainer_for(tmp_path, splits={"train": cases}, options=first).run()
    second = {"encoder": "b", "image_size": 32, "num_workers": 4, "lr": 1}
    trainer = trainer_for(tmp_path, epochs=4, splits={"train": cases[:1]}, options=second, resume=True)
    with pytest.raises(ValueError) as error:
        trainer.run()
    message = str(error.value)
    assert all(text in message for text in ("encoder was a, now is b", "loss was x, now is None", "train list was"))
    assert not any(text in message for text in ("image_size", "num_workers"))


def test_other_files_of_the_same_names_are_refused_and_a_moved_folder_is_not(tmp_path, cases):
    run, moved = tmp_path / "run", cases_in(tmp_path / "moved")
    trainer_for(run, splits={"train": cases}).run()
    trainer_for(run, epochs=4, splits={"train": moved}, resume=True).run()
    Path(moved[1]["label"]).write_text("MASKS 1")  # of the same size
    with pytest.raises(ValueError, match=r"had other settings: train files was \w{64}, now is \w{64}\. Set them"):
        trainer_for(run, epochs=5, splits={"train": moved}, resume=True).run()


def test_state_of_an_earlier_version_without_the_hash_of_files_is_resumed(tmp_path, cases):
    trainer_for(tmp_path, splits={"train": cases}).run()
    state = saved(tmp_path)
    del state["must_match"]["train files"]
    torch.save(state, tmp_path / "resume_run.state")
    trainer_for(tmp_path, epochs=4, splits={"train": cases}, resume=True).run()
    assert record(tmp_path)["result"]["epochs"] == 4


@pytest.mark.parametrize("schedule", [{"lr_schedule": "cosine"}, {}])
def test_a_schedule_over_the_whole_run_must_keep_its_epochs(tmp_path, schedule):
    trainer_for(tmp_path, epochs=2, options={"epochs": 2, **schedule}).run()
    with pytest.raises(ValueError, match="epochs was 2, now is 3"):
        trainer_for(tmp_path, options={"epochs": 3, **schedule}, resume=True).run()


def test_run_without_a_validation_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"val_interval \(5\) is more than epochs \(3\)"):
        trainer_for(tmp_path, options={"val_interval": 5, "epochs": 3}, interval=5)


def test_checkpoints_that_a_run_replaces_go_when_its_first_epoch_is_complete(tmp_path):
    (tmp_path / "final.pt").write_bytes(b"earlier")
    found = []
    trainer = trainer_for(tmp_path, overwrite=True)
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: found.append((tmp_path / "final.pt").exists()))
    trainer.run()
    assert found == [True, False, False]
    assert record(tmp_path)["checkpoints"]["final.pt"] == file_sha256(tmp_path / "final.pt")


def test_full_disk_leaves_the_state_before_and_says_so(tmp_path, monkeypatch):
    real_save, calls = torch.save, []

    def fill_disk(content, stream, **kwargs):
        calls.append(1)
        if len(calls) == 3:  # the first epoch wrote its state and the best checkpoint
            stream.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real_save(content, stream, **kwargs)

    monkeypatch.setattr(torch, "save", fill_disk)
    with pytest.raises(
        OSError, match=r"resume_run.state could not be written: .*No space left on device; the one before"
    ):
        trainer_for(tmp_path).run()
    assert names(tmp_path) == ["model.pt", "resume_run.state", "run_run.json"]
    assert saved(tmp_path)["epoch"] == 1
    monkeypatch.undo()
    resumed = trainer_for(tmp_path, resume=True)
    resumed.run()
    assert resumed.state.epoch == 3


def test_a_federated_round_starts_the_same_trainer_again(tmp_path):
    trainer = trainer_for(tmp_path, epochs=1)
    trainer.run()
    trainer.state.max_epochs = 2
    trainer.run()
    assert (trainer.state.epoch, trainer.state.iteration) == (2, 4)
    assert saved(tmp_path)["epoch"] == record(tmp_path)["result"]["epochs"] == 2
    assert names(tmp_path) == FILES


def test_a_workflow_that_runs_again_trains_from_its_first_epoch(tmp_path):
    trainer = trainer_for(tmp_path, scores=[0.1, 0.5, 0.3])
    trainer.run()
    trainer.run()
    assert (trainer.state.epoch, trainer.state.iteration) == (3, 6)
    assert same(saved(tmp_path, "final.pt"), weights(trainer))
    assert record(tmp_path)["checkpoints"]["final.pt"] == file_sha256(tmp_path / "final.pt")


def test_run_that_is_replaced_stays_whole_if_the_new_one_fails_in_its_first_epoch(tmp_path):
    trainer_for(tmp_path).run()
    before = {name: file_sha256(tmp_path / name) for name in names(tmp_path)}
    trainer = trainer_for(tmp_path, overwrite=True, interval=1)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), fail)
    with pytest.raises(ArithmeticError):
        trainer.run()
    assert {name: file_sha256(tmp_path / name) for name in names(tmp_path)} == before
    trainer_for(tmp_path, epochs=4, resume=True).run()
    assert record(tmp_path)["result"]["epochs"] == 4


def test_run_that_is_replaced_cannot_be_resumed_after_the_first_epoch_of_the_new_one(tmp_path):
    trainer_for(tmp_path, epochs=6).run()
    trainer = trainer_for(tmp_path, epochs=6, overwrite=True, save_interval=0)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), fail)
    with pytest.raises(ArithmeticError):
        trainer.run()
    assert names(tmp_path) == ["model.pt", "run_run.json"]
    with pytest.raises(FileExistsError, match=r"no resume_run.state to resume from"):
        trainer_for(tmp_path, epochs=6, resume=True).run()


def fail(engine):
    raise ArithmeticError


def stop_with(error):
    def stop(engine):
        raise error

    return stop


@pytest.mark.parametrize(("error", "by"), [(KeyboardInterrupt(), "Ctrl-C"), (Terminated(), "SIGTERM")])
def test_interruption_is_recorded_until_the_run_is_resumed(tmp_path, error, by):
    trainer = trainer_for(tmp_path)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=5), stop_with(error))
    with pytest.raises(type(error), match=rf"stopped by {by} in epoch 3 of 3; epoch 2 is saved, .* --resume true"):
        trainer.run()
    found = record(tmp_path)["interrupted"]
    assert (found["by"], found["in_epoch"], found["saved_epoch"]) == (by, 3, 2)
    trainer_for(tmp_path, resume=True).run()
    assert "interrupted" not in record(tmp_path) and record(tmp_path)["result"]["epochs"] == 3


def test_interruption_before_anything_is_saved_says_so(tmp_path):
    trainer = trainer_for(tmp_path)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), stop_with(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt, match="before anything was saved: the same command begins anew"):
        trainer.run()
    assert record(tmp_path)["interrupted"]["saved_epoch"] == 0
    trainer_for(tmp_path).run()


@pytest.mark.parametrize(
    "change",
    [
        {"must_match": None},
        {"network": {}},
        {"optimizer": []},
        {"epoch": "2"},
        {"best_metric": None, "seconds": "long"},
        {"network": {"weight": torch.zeros(9), "bias": torch.zeros(1)}},
    ],
)
def test_state_of_another_shape_is_named(tmp_path, change):
    trainer_for(tmp_path, epochs=2).run()
    torch.save({**saved(tmp_path), **change}, tmp_path / "resume_run.state")
    with pytest.raises(ValueError, match=r"resume: .*resume_run\.state is not the state of .*move it away"):
        trainer_for(tmp_path, resume=True).run()


def test_state_that_is_no_mapping_is_named(tmp_path):
    trainer_for(tmp_path, epochs=2).run()
    torch.save([torch.nn.Identity()], tmp_path / "resume_run.state")
    with pytest.raises(ValueError, match=r"it holds torch\S+Identity, which is not loaded, since it could run code\)"):
        trainer_for(tmp_path, resume=True).run()
    torch.save([1, 2], tmp_path / "resume_run.state")
    with pytest.raises(ValueError, match=r"resume_run\.state cannot be read as a training state"):
        trainer_for(tmp_path, resume=True).run()


@pytest.mark.parametrize("content", ["[]", '{"resumed": 3}', "half", '{"started": "today"}'])
def test_record_of_another_shape_is_begun_anew_and_named(tmp_path, content, caplog):
    trainer_for(tmp_path, epochs=2).run()
    (tmp_path / "run_run.json").write_text(content)
    trainer_for(tmp_path, resume=True).run()
    assert "record of the resumed run cannot be read" in caplog.text
    assert record(tmp_path)["result"]["epochs"] == 3


def test_run_of_another_method_is_not_resumed(tmp_path):
    channels = {"in_channels": 3, "out_channels": 1}
    cards = [ModelCard(method, {**channels, **METHODS[method].options}) for method in ("dec_seg", "condseg")]
    trainer_for(tmp_path, epochs=2, card=cards[0]).run()
    with pytest.raises(ValueError, match="method was dec_seg, now is condseg"):
        trainer_for(tmp_path, resume=True, card=cards[1]).run()


def test_each_run_has_its_own_tensorboard_folder_and_a_resumed_one_continues_in_its_own(tmp_path):
    for number, options in enumerate(({}, {"overwrite": True}, {"resume": True, "epochs": 4}), 1):
        writer = EventWriter(tmp_path / "events")
        trainer = trainer_for(tmp_path / "models", **options, summary_writer=writer)
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED,
            lambda engine, writer=writer: writer.add_scalar(
                "loss", engine.state.output["loss"], engine.state.iteration
            ),
        )
        trainer.run()
        writer.close()
        assert record(tmp_path / "models")["tensorboard"] == f"run_{min(number, 2)}"
    found = {path.name: EventAccumulator(str(path)).Reload() for path in (tmp_path / "events").iterdir()}
    steps = {name: [event.step for event in events.Scalars("loss")] for name, events in found.items()}
    assert steps == {"run_1": list(range(1, 7)), "run_2": list(range(1, 9))}


def test_history_is_that_of_an_uninterrupted_run(tmp_path):
    def run(path, cut=None, **options):
        history = TrainingHistory(path / "history.csv", lambda out: {"loss/total": float(out["loss"])}, Engine(print))
        scores = [0.5, 0.1, 0.1, 0.1]
        trainer = trainer_for(path, epochs=4, save_interval=2, scores=scores, history=history, **options)
        if cut:
            trainer.add_event_handler(Events.ITERATION_COMPLETED(once=cut), fail)
            with pytest.raises(ArithmeticError):
                trainer.run()
        else:
            trainer.run()
        return (path / "history.csv").read_text()

    whole = run(tmp_path / "whole")
    assert run(tmp_path / "cut", cut=7).splitlines() == whole.splitlines()[:4]
    assert run(tmp_path / "cut", resume=True) == whole
    assert run(tmp_path / "cut", overwrite=True) == whole

import errno

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from torch import nn

from condseg_monai.training.handlers.checkpoint_saver import AtomicCheckpointSaver
from condseg_monai.training.handlers.training_state import TrainingState
from condseg_monai.training.trainer import GuardedTrainer

CASES = [{"image": f"images/{i}.png", "label": f"masks/{i}.png"} for i in range(2)]


class RecordingScaler:
    """Stands for the GradScaler, which MONAI makes anew for each run and which does nothing without a GPU."""

    def __init__(self):
        self.loaded = None

    def state_dict(self):
        return {"scale": 1024.0}

    def load_state_dict(self, state):
        self.loaded = state


def trainer_for(folder, epochs=3, handlers=(), **kwargs):
    torch.manual_seed(0)
    data = [{"image": torch.rand(1, 2, 2), "label": torch.rand(1, 2, 2)} for _ in range(4)]
    network = nn.Conv2d(1, 1, 1)
    state = TrainingState(str(folder), "resume.pt", **kwargs)
    return GuardedTrainer(
        "cpu",
        epochs,
        DataLoader(Dataset(data), batch_size=2, shuffle=True),
        network,
        torch.optim.Adam(network.parameters()),
        nn.MSELoss(),
        decollate=False,
        train_handlers=[*handlers, state],
    )


def saved(folder):
    return torch.load(folder / "resume.pt", weights_only=True)


def test_state_is_saved_every_interval_and_at_the_end(tmp_path):
    trainer = trainer_for(tmp_path, epochs=5, save_interval=2)
    found = []

    def look(engine):
        found.append(saved(tmp_path)["epoch"] if (tmp_path / "resume.pt").exists() else 0)

    trainer.add_event_handler(Events.EPOCH_STARTED, look)
    trainer.run()
    assert found == [0, 0, 2, 2, 4]
    assert (saved(tmp_path)["epoch"], saved(tmp_path)["iteration"]) == (5, 10)


def test_interval_of_zero_saves_nothing(tmp_path):
    trainer_for(tmp_path, save_interval=0).run()
    assert list(tmp_path.iterdir()) == []


def test_negative_interval_raises(tmp_path):
    with pytest.raises(ValueError, match="save_interval must be >= 0 epochs, got -1"):
        TrainingState(str(tmp_path), "resume.pt", save_interval=-1)


def test_run_that_was_stopped_within_an_epoch_is_saved_as_of_the_epoch_before(tmp_path):
    trainer = trainer_for(tmp_path)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda engine: engine.terminate())
    trainer.run()
    assert (saved(tmp_path)["epoch"], saved(tmp_path)["ended_early"]) == (1, False)
    resumed = trainer_for(tmp_path, resume=True)
    resumed.run()
    assert (resumed.state.epoch, resumed.state.iteration) == (3, 6)


def test_gradient_scaler_goes_on(tmp_path):
    trainer = trainer_for(tmp_path)
    trainer.add_event_handler(Events.STARTED, lambda engine: setattr(engine, "scaler", RecordingScaler()))
    trainer.run()
    assert saved(tmp_path)["scaler"] == {"scale": 1024.0}
    scaler = RecordingScaler()
    trainer = trainer_for(tmp_path, epochs=4, resume=True)
    trainer.scaler = scaler
    handler = next(handler for handler, *_ in trainer._event_handlers[Events.STARTED] if handler.__name__ == "started")
    trainer._dataloader_iter = None
    handler(trainer)
    assert scaler.loaded == {"scale": 1024.0}


def test_full_disk_leaves_the_state_before_and_says_so(tmp_path, monkeypatch):
    real_save, calls = torch.save, []

    def fill_disk(content, stream, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            stream.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real_save(content, stream, **kwargs)

    monkeypatch.setattr(torch, "save", fill_disk)
    with pytest.raises(OSError, match=r"resume.pt could not be written: No space left on device; the one before it is"):
        trainer_for(tmp_path).run()
    assert [path.name for path in tmp_path.iterdir()] == ["resume.pt"]
    assert saved(tmp_path)["epoch"] == 1
    monkeypatch.undo()
    resumed = trainer_for(tmp_path, resume=True)
    resumed.run()
    assert resumed.state.epoch == 3


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    (tmp_path / ".resume.pt.abc123").write_bytes(b"half")
    (tmp_path / ".resume.pt.d.json").write_bytes(b"another's")
    trainer_for(tmp_path, resume=True).run()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".resume.pt.d.json", "resume.pt"]


def test_other_cases_and_settings_are_named(tmp_path):
    trainer_for(tmp_path, splits={"train": CASES}, must_match={"encoder": "a", "size": 32}).run()
    with pytest.raises(ValueError) as error:
        trainer_for(
            tmp_path, epochs=4, splits={"train": CASES[:1]}, must_match={"encoder": "b", "size": 32}, resume=True
        ).run()
    message = str(error.value)
    assert "encoder was a, now is b" in message
    assert "train list was" in message
    assert "size" not in message


def test_files_of_an_earlier_run_are_kept_when_a_run_begins(tmp_path):
    for name in ("resume.pt", "final.pt"):
        (tmp_path / name).write_bytes(b"earlier")
    trainer = trainer_for(tmp_path, handlers=[final_saver(tmp_path, trainer_network=nn.Linear(1, 1))])
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda engine: engine.terminate(skip_completed=True))
    trainer.run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final-1.pt", "final.pt", "resume-1.pt"]
    assert (tmp_path / "resume-1.pt").read_bytes() == b"earlier"


def final_saver(folder, trainer_network):
    return AtomicCheckpointSaver(str(folder), {"model": trainer_network}, save_final=True, final_filename="final.pt")


def test_a_second_start_of_the_same_trainer_is_no_resume(tmp_path):
    trainer = trainer_for(tmp_path, epochs=1)
    trainer.run()
    trainer.state.max_epochs = 2  # a federated round
    trainer.run()
    assert (trainer.state.epoch, trainer.state.iteration) == (2, 4)
    assert saved(tmp_path)["epoch"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["resume.pt"]


def test_resumed_training_is_bit_for_bit_the_same(tmp_path):
    whole = trainer_for(tmp_path / "whole", epochs=4)
    whole.run()
    trainer_for(tmp_path / "cut", epochs=2).run()
    resumed = trainer_for(tmp_path / "cut", epochs=4, resume=True)
    torch.manual_seed(99)
    resumed.run()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], value)

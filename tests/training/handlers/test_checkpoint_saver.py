import logging

import pytest
import torch
from ignite.engine import Engine
from monai.handlers import CheckpointSaver
from torch import nn

from condseg_monai.training.handlers.checkpoint_saver import AtomicCheckpointSaver


def run(saver: CheckpointSaver, scores: list[float], network: nn.Linear | None = None) -> None:
    """Run an engine whose key metric takes ``scores`` in turn; the network's bias is the epoch."""

    def step(engine, _):
        engine.state.metrics["score"] = scores[engine.state.epoch - 1]
        if network is not None:
            nn.init.constant_(network.bias, engine.state.epoch)

    engine = Engine(step)
    engine.state.key_metric_name = "score"
    saver.attach(engine)
    engine.run([0], max_epochs=len(scores))


def saver_for(network, folder, **kwargs):
    return AtomicCheckpointSaver(
        str(folder),
        {"model": network},
        save_key_metric=True,
        key_metric_filename="model.pt",
        save_final=True,
        final_filename="model_final.pt",
        **kwargs,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def bias(path):
    return torch.load(path, weights_only=True)["bias"].item()


def test_best_and_last_are_bare_state_dicts(tmp_path):
    network = nn.Linear(1, 1)
    run(saver_for(network, tmp_path), [0.1, 0.5, 0.3], network)
    assert names(tmp_path) == ["model.pt", "model_final.pt"]
    assert (bias(tmp_path / "model.pt"), bias(tmp_path / "model_final.pt")) == (2, 3)
    assert set(torch.load(tmp_path / "model.pt", weights_only=True)) == {"weight", "bias"}


def test_files_of_earlier_runs_are_kept_and_announced(tmp_path, caplog):
    for value in (7, 8, 9):
        network = nn.Linear(1, 1)
        nn.init.constant_(network.bias, value)
        with caplog.at_level(logging.INFO):
            run(saver_for(network, tmp_path), [0.1, 0.2])
    assert [bias(tmp_path / name) for name in ("model-1.pt", "model-2.pt", "model.pt")] == [7, 8, 9]
    assert [bias(tmp_path / f"model_final{suffix}.pt") for suffix in ("-1", "-2", "")] == [7, 8, 9]
    assert "model.pt of an earlier run is kept as" in caplog.text


def test_overwrite_replaces(tmp_path):
    for _ in range(2):
        network = nn.Linear(1, 1)
        run(saver_for(network, tmp_path, overwrite=True), [0.1, 0.2], network)
    assert names(tmp_path) == ["model.pt", "model_final.pt"]


def test_earlier_file_stays_until_there_is_a_new_one(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"earlier")
    network = nn.Linear(1, 1)
    saver_for(network, tmp_path)
    assert (tmp_path / "model.pt").read_bytes() == b"earlier"
    assert names(tmp_path) == ["model.pt"]


def test_interrupted_save_leaves_the_last_whole_checkpoint(tmp_path, monkeypatch):
    network = nn.Linear(1, 1)
    real_save, calls = torch.save, []

    def save_half(checkpoint, file, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            file.write(b"half")
            raise KeyboardInterrupt
        real_save(checkpoint, file, **kwargs)

    saver = AtomicCheckpointSaver(
        str(tmp_path), {"model": network}, save_key_metric=True, key_metric_filename="model.pt"
    )
    monkeypatch.setattr(torch, "save", save_half)
    with pytest.raises(KeyboardInterrupt):
        run(saver, [0.1, 0.2], network)
    assert names(tmp_path) == ["model.pt"]
    assert bias(tmp_path / "model.pt") == 1


def test_best_checkpoint_never_disappears_while_it_is_replaced(tmp_path, monkeypatch):
    network = nn.Linear(1, 1)
    real_save, present = torch.save, []

    def watch(checkpoint, file, **kwargs):
        present.append((tmp_path / "model.pt").exists())
        real_save(checkpoint, file, **kwargs)

    saver = AtomicCheckpointSaver(
        str(tmp_path), {"model": network}, save_key_metric=True, key_metric_filename="model.pt"
    )
    monkeypatch.setattr(torch, "save", watch)
    run(saver, [0.1, 0.2, 0.3], network)
    assert present == [False, True, True]


def test_numbered_checkpoints_are_pruned_as_in_monai(tmp_path):
    network = nn.Linear(1, 1)
    run(AtomicCheckpointSaver(str(tmp_path), {"model": network}, save_interval=1, n_saved=2), [0.0] * 4, network)
    assert names(tmp_path) == ["model_epoch=3.pt", "model_epoch=4.pt"]


def test_resumed_saver_beats_the_earlier_score_and_keeps_nothing(tmp_path):
    network = nn.Linear(1, 1)
    first = saver_for(network, tmp_path)
    run(first, [0.1, 0.5], network)
    resumed = saver_for(network, tmp_path)
    resumed.load_state_dict(first.state_dict())
    run(resumed, [0.4, 0.3, 0.6], network)
    assert bias(tmp_path / "model.pt") == 3
    assert names(tmp_path) == ["model.pt", "model_final.pt"]
    worse = saver_for(network, tmp_path)
    worse.load_state_dict(resumed.state_dict())
    run(worse, [0.5], network)
    assert bias(tmp_path / "model.pt") == 3


def test_a_score_told_from_elsewhere_is_the_one_to_beat(tmp_path):
    network = nn.Linear(1, 1)
    saver = saver_for(network, tmp_path)
    saver.beat(0.45)
    run(saver, [0.4, 0.5, 0.42], network)
    assert bias(tmp_path / "model.pt") == 2
    AtomicCheckpointSaver(str(tmp_path), {"model": network}, save_final=True).beat(0.5)  # looks for no best


def test_failed_run_saves_no_final_checkpoint(tmp_path):
    def fail(engine, batch):
        raise RuntimeError("broke")

    engine = Engine(fail)
    saver_for(nn.Linear(1, 1), tmp_path).attach(engine)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    with pytest.raises(RuntimeError, match="broke"):
        engine.run([0])
    assert names(tmp_path) == []

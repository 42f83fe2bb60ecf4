"""Training of the reference model: three steps, each of which continues, and a test list scored by request."""

import json
from itertools import count

import pytest
import torch

from condseg_monai import ModelCard
from condseg_monai.utils.files import file_sha256, write_checkpoint
from experiments import train_polyp

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tiny_dataset, tmp_path_factory):
    """Arguments of a run of an epoch or two a step that has ended, and its folder."""
    folder = tmp_path_factory.mktemp("polyp") / "run"
    words = ["train_polyp", "--dataset_dir", str(tiny_dataset), "--output_dir", str(folder), "--held_out", "1"]
    words += ["--epochs", "1", "2", "1", "--image_sizes", "32", "32", "48"]
    words += ["--", "--encoder_weights", "None", "--batch_size", "2", "--device", "cpu", "--precision", "float32"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", words)
        train_polyp.main()
    return words, folder


def test_held_out_images_are_of_the_training_list_and_the_test_list_is_the_official_one(trained, tiny_dataset):
    lists = {name: (trained[1] / "dataset" / f"{name}.txt").read_text().split() for name in ("train", "val", "test")}
    assert len(lists["val"]) == 1 and len(lists["train"]) == 3
    assert sorted(lists["train"] + lists["val"]) == (tiny_dataset / "train.txt").read_text().split()
    assert lists["test"] == (tiny_dataset / "val.txt").read_text().split()


def test_last_step_begins_with_the_weights_of_the_step_before(trained):
    sizes = {step: json.loads((trained[1] / step / "models" / "model.json").read_text()) for step in ("small", "full")}
    assert [sizes[step]["input"]["image_size"] for step in ("small", "full")] == [32, 48]
    small, full = (
        torch.load(trained[1] / step / "models" / "model_final.pt", weights_only=True) for step in ("small", "full")
    )
    kernels = [key for key, value in small.items() if value.ndim == 4]
    distance = sum((small[key] - full[key]).square().sum() for key in kernels)
    assert 0 < distance < 0.05 * sum(small[key].square().sum() for key in kernels)


def test_run_that_has_ended_stays_and_its_model_is_shipped_with_scores(trained, monkeypatch, capsys, tmp_path):
    words, folder = trained
    model = folder / "full" / "models" / "model.pt"
    before = file_sha256(model)
    monkeypatch.setattr("sys.argv", words)
    train_polyp.main()
    assert not (folder / "test_looks.txt").exists()
    at = words.index("--")
    ship = ["--ship", "full", "condseg_tiny", "--models_dir", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [*words[:at], *ship, "--", "--device", "cpu"])
    train_polyp.main()
    assert file_sha256(model) == before
    assert len((folder / "test_looks.txt").read_text().splitlines()) == 1
    assert '"mean_dice"' in capsys.readouterr().out
    card = ModelCard.read(tmp_path / "condseg_tiny.json")
    assert card.image_size == 48 and card.weights["sha256"] == file_sha256(tmp_path / "condseg_tiny.pt")
    assert card.training["test"]["images"] == 3 and "interval_95" in card.training["test"]["scores"]["mean_iou"]
    shipped = torch.load(tmp_path / "condseg_tiny.pt", weights_only=True)
    assert {value.dtype for value in shipped.values() if value.is_floating_point()} == {torch.float16}


class Killed(BaseException):
    """The end of a process, which no handler of exceptions catches."""


def test_steps_that_were_cut_short_end_with_the_same_model(trained, monkeypatch, tmp_path):
    words, folder = trained
    writes = count()

    def cut_short(path, state):
        """End the process before the state of each epoch is written, and the next time after that."""
        write = next(writes) if path.suffix == ".state" else None
        if write is None or write % 2 == 1:
            write_checkpoint(path, state)
        if write is not None:
            raise Killed

    monkeypatch.setattr("condseg_monai.training.handlers.save_and_resume.write_checkpoint", cut_short)
    monkeypatch.setattr("sys.argv", [str(tmp_path) if word == str(folder) else word for word in words])
    for _ in range(8):
        with pytest.raises(Killed):
            train_polyp.main()
    train_polyp.main()
    assert next(writes) == 8
    last = [run / "full" / "models" / "model_final.pt" for run in (tmp_path, folder)]
    assert file_sha256(last[0]) == file_sha256(last[1])

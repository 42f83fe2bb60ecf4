"""Trials of recipes: their data set, and a table that is complete whenever they stop."""

import numpy as np
import pytest
from PIL import Image

from experiments import recipe_trials


@pytest.fixture
def folders(tmp_path):
    """Kvasir-Sessile of two training images, and Kvasir-SEG with those and four more, one of them Sessile's too."""
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[8:20, 8:20] = 255
    for name, lists in {"sessile": {"train": "ab", "val": "c", "test": ""}, "kvasir": {"train": "abcdef"}}.items():
        for folder in ("images", "masks"):
            (tmp_path / name / folder).mkdir(parents=True)
        for split, stems in lists.items():
            (tmp_path / name / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))
            for stem in stems:
                pixels = np.random.default_rng(ord(stem)).integers(0, 255, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / "images" / f"{stem}.png")
                Image.fromarray(mask).save(tmp_path / name / "masks" / f"{stem}.png")
    return tmp_path / "sessile", tmp_path / "kvasir"


def test_scored_images_are_none_of_kvasir_sessile(folders, tmp_path):
    recipe_trials.make_dataset(*folders, tmp_path / "dataset")
    assert (tmp_path / "dataset" / "train.txt").read_text().split() == ["a", "b"]
    assert sorted((tmp_path / "dataset" / "val.txt").read_text().split()) == ["d", "e", "f"]
    assert len(list((tmp_path / "dataset" / "masks").iterdir())) == 5


def test_trials_are_trained_scored_and_kept(folders, tmp_path, monkeypatch, capsys):
    tiny = {"image_size": 32, "epochs": 1, "val_interval": 1, "batch_size": 2, "decoder_channels": 8, "device": "cpu"}
    monkeypatch.setattr(recipe_trials, "OPTIONS", {**recipe_trials.OPTIONS, **tiny, "encoder_weights": None})
    words = ["x", "--sessile_dir", str(folders[0]), "--kvasir_dir", str(folders[1])]
    words += ["--output_dir", str(tmp_path / "out"), "--trials", "base", "no_region_losses"]
    monkeypatch.setattr("sys.argv", words)
    recipe_trials.main()
    first = (tmp_path / "out" / "trials.md").read_text()
    assert [line.split("|")[1].strip() for line in first.splitlines()[2:]] == ["base", "no_region_losses"]
    monkeypatch.setattr(recipe_trials, "run", None)  # what is scored is not run again
    recipe_trials.main()
    assert (tmp_path / "out" / "trials.md").read_text() == first
    assert first in capsys.readouterr().out

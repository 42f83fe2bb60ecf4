"""Scores of images of another look."""

from types import SimpleNamespace

import numpy as np
from PIL import Image

from experiments import changed_images


class BrightParts:
    """Stands in for a model: what is brighter than 70 is foreground."""

    def __init__(self, model):
        self.model = model

    def predict(self, image):
        return SimpleNamespace(mask=(np.asarray(image).max(axis=2) > 70).astype(np.uint8))


def test_each_change_is_scored_alone_and_models_are_averaged(tmp_path, monkeypatch, capsys):
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    for folder, pixels in (("images", np.where(mask[..., None] > 0, 120, 20).repeat(3, 2)), ("masks", mask)):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / folder / "a.png")
    (tmp_path / "val.txt").write_text("a\n")
    monkeypatch.setattr(changed_images, "Segmenter", BrightParts)
    monkeypatch.setattr("sys.argv", ["changed_images", "one", "two", "--dataset_dir", str(tmp_path)])
    changed_images.main()
    title, _, one, two, mean = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()
    )
    scores = dict(zip(title[1:-1], map(float, one[1:-1]), strict=True))
    assert scores["as it is"] == scores["gamma 0.55"] == scores["half the contrast"] == 100
    assert scores["gamma 1.8"] == 0  # 120 becomes 66
    assert 90 < scores["blurred, 2 pixels"] < 100
    assert float(one[-1]) == np.round(np.mean(list(scores.values())[1:]), 1)
    assert one[1:] == two[1:] == mean[1:]

"""A folder of images and masks without lists becomes a model, a table and masks of new images, as the README says."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condseg_monai.cli.commands import main
from tests.cli.test_train_and_predict import SMALL

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
SEGMENTER = next(text for text in re.findall(r"```python\n(.*?)```", README, flags=re.S) if "Segmenter" in text)


@pytest.mark.slow
def test_folder_without_lists_becomes_a_model_a_table_and_masks(tiny_dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_dataset / "images", "polyps/images")
    (tmp_path / "polyps" / "masks").mkdir()
    for mask in (tiny_dataset / "masks").iterdir():
        shutil.copy(mask, f"polyps/masks/{mask.stem}-mask.png")

    def next_commands() -> list[list[str]]:
        lines = capsys.readouterr().out.partition("\nNext\n")[2].splitlines()
        return [shlex.split(line)[1:] for line in lines if line.startswith("  condseg ")]

    assert main(["split", "polyps", "--mask_suffix=-mask"]) == 0
    ((_, *train),) = next_commands()
    assert main(["train", *train, *SMALL]) == 0
    evaluate, (_, model, *_) = next_commands()
    assert (tmp_path / "runs" / "polyps" / "curves.png").is_file()
    assert main(evaluate) == 0
    assert "95 % interval" in capsys.readouterr().out
    assert main(["predict", model, "polyps/images", "masks"]) == 0
    frame = next((tmp_path / "polyps" / "images").iterdir())
    shutil.copy(frame, "frame.png")
    exec(compile(SEGMENTER.replace("runs/NAME", "runs/polyps"), "README.md", "exec"), {})
    mask = np.asarray(Image.open("mask.png"))
    np.testing.assert_array_equal(mask, np.asarray(Image.open(Path("masks") / frame.name)))

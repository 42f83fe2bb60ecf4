"""Several classes on the command line: ``check``, ``train``, ``evaluate`` and ``predict``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condseg_monai.cli.commands import main
from condseg_monai.cli.config_options import OptionValue
from condseg_monai.data.images.mask_reader import read_mask

COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 255]], dtype=np.uint8)
VALUES = "[0,0,0],[255,0,0],[0,128,255]"
CLASSES = ["--classes", "background,lesion,tool"]
SMALL = ["--encoder", "resnet18", "--encoder_weights", "null", "--stage1_checkpoint", "null", "--decoder_channels", "4"]
SMALL += ["--image_size", "32", "--batch_size", "2", "--epochs", "1", "--num_workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training images, one for validation and one for testing, whose masks have three colours."""
    folder = tmp_path_factory.mktemp("classes") / "data"
    rng, indices = np.random.default_rng(0), np.kron([[0, 1], [2, 0]], np.ones((12, 12), int))
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        names = [f"{split}{i}" for i in range(count)]
        for name in names:
            Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / "images" / f"{name}.png")
            Image.fromarray(COLOURS[indices]).save(folder / "masks" / f"{name}.png")
        (folder / f"{split}.txt").write_text("\n".join(names))
    return folder


def test_check_counts_masks_and_pixels_of_each_class(data, capsys):
    assert main(["check", str(data), *CLASSES, "--class_values", VALUES, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["classes"]["tool"] == [0, 128, 255]
    assert report["splits"]["train"]["classes"]["tool"] == {"masks": 2, "share": 0.25}
    assert main(["check", str(data), *CLASSES, "--class_values", VALUES]) == 0
    assert ["train", "tool", "2", "25.00", "%"] in [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("background,lesion[1]", ["background", "lesion[1]"]),
        ("[background, lesion[1]]", ["background", "lesion[1]"]),
        ("[a],[b]", ["[a]", "[b]"]),
        ("['a','b']", ["a", "b"]),
    ],
)
def test_brackets_belong_to_a_name_unless_they_enclose_all(text, names):
    assert OptionValue("class_names").convert(text, None, None) == names


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the mask has areas of 3 values, [0, 0, 0], [0, 128, 255], [255, 0, 0]"),
        (CLASSES, "it has colours, but class_values are numbers, 0, 1, 2"),
        ([*CLASSES, "--class_values", "[0,0,0],[255,0,0],[9,9,9]"], "values of no class: [0, 128, 255]"),
    ],
)
def test_check_names_masks_whose_values_have_no_class(data, capsys, arguments, words):
    assert main(["check", str(data), *arguments]) == 1
    output = capsys.readouterr().out
    assert words in output and "train0.png" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--class_values", "0,1"], "give the names too"),
        ([*CLASSES, "--class_values", "0,1"], "for each of the 3 classes"),
        ([*CLASSES, "--mask_threshold", "5"], "leave one out"),
    ],
)
def test_contradicting_options_are_refused(data, capsys, arguments, words):
    assert main(["check", str(data), *arguments]) == 1
    assert words in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_train_evaluate_and_predict_with_classes(data, capsys):
    run, out = data.parent / "run", data.parent / "out"
    assert main(["train", str(data), "--output_dir", str(run), *CLASSES, "--class_values", VALUES, *SMALL]) == 0
    assert main(["evaluate", str(run), str(data)]) == 0
    assert "dice_lesion" in (printed := capsys.readouterr().out) and "hd95_tool" in printed
    assert main(["predict", str(run), str(data / "images"), str(out)]) == 0
    for path in (data / "masks").iterdir():
        read_mask(out / path.name, class_values=COLOURS.tolist())  # every pixel has the colour of a class

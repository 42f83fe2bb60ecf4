"""Which cases are labelled: by lists or by a seeded share, checked, logged, and without masks for the others."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch

from condseg_monai.data.images.color_augmentation import ColorPerturbation
from condseg_monai.data.lists.datalist import datalist_hash
from condseg_monai.data.lists.pairing import DatasetError
from condseg_monai.data.lists.semi_supervised import PlaceholderLabeld, semi_supervised_datalists


@pytest.fixture
def dataset(tiny_dataset, tmp_path):
    """Two labelled images and two that have no mask file."""
    folder = tmp_path / "data"
    shutil.copytree(tiny_dataset, folder)
    (folder / "labeled.txt").write_text("train_0\ntrain_2.png\n")
    (folder / "unlabeled.txt").write_text("train_1\ntrain_3\n")
    for stem in ("train_1", "train_3"):
        (folder / "masks" / f"{stem}.png").unlink()
    return folder


def stems(cases):
    return [Path(case["image"]).stem for case in cases]


def test_lists_say_which_cases_are_labelled_and_the_others_need_no_mask(dataset):
    found = semi_supervised_datalists(dataset)
    assert stems(found["labeled"]) == ["train_0", "train_2"]
    assert stems(found["unlabeled"]) == ["train_1", "train_3"]
    assert stems(found["val"]) == ["val_0", "val_1", "val_2"]
    assert {tuple(case) for case in found["unlabeled"]} == {("image",)}
    assert {tuple(case) for case in found["labeled"] + found["val"]} == {("image", "label")}


def test_a_share_of_the_training_list_is_drawn_by_seed_and_logged(tiny_dataset, caplog):
    logging.getLogger().setLevel(logging.INFO)
    choices = [semi_supervised_datalists(tiny_dataset, labeled_fraction=0.5, seed=seed) for seed in range(6)]
    for choice in choices:
        assert len(choice["labeled"]) == len(choice["unlabeled"]) == 2
        assert sorted(stems(choice["labeled"] + choice["unlabeled"])) == [f"train_{i}" for i in range(4)]
    assert len({tuple(stems(choice["labeled"])) for choice in choices}) > 1
    assert choices[3] == semi_supervised_datalists(tiny_dataset, labeled_fraction=0.5, seed=3)
    assert "2 labelled and 2 unlabelled cases (50.0% labelled)" in caplog.text
    assert "with labeled_fraction 0.5 and seed 3" in caplog.text
    assert datalist_hash(choices[3]["labeled"]) in caplog.text
    assert ", ".join(stems(choices[3]["labeled"])) in caplog.text


def test_the_choice_does_not_depend_on_the_order_of_the_list(tiny_dataset, tmp_path):
    shutil.copytree(tiny_dataset, tmp_path / "data")
    (tmp_path / "data" / "train.txt").write_text("train_3\ntrain_1\ntrain_0\ntrain_2\n")
    first, second = (
        stems(semi_supervised_datalists(folder, labeled_fraction=0.25, check=False)["labeled"])
        for folder in (tiny_dataset, tmp_path / "data")
    )
    assert first == second
    assert len(first) == 1


def test_all_labelled_leaves_none_without(tiny_dataset):
    assert semi_supervised_datalists(tiny_dataset, labeled_fraction=1.0)["unlabeled"] == []


@pytest.mark.parametrize("check", [True, False])
def test_every_problem_is_listed_at_once(dataset, check):
    (dataset / "labeled.txt").write_text("train_0\ntrain_1\ntrain_0\nval_2\n")
    (dataset / "unlabeled.txt").write_text("train_3\ntrain_0\nnowhere\n")
    with pytest.raises(DatasetError) as error:
        semi_supervised_datalists(dataset, check=check)
    for words in (
        "labeled.txt: train_0: is there 2 times",
        "labeled.txt: train_1: masks/ has no such file",
        "unlabeled.txt: nowhere: images/ has no such file",
        "train_0: is in both labeled.txt and unlabeled.txt",
        "val_2: is in both labeled.txt and val.txt",
    ):
        assert words in str(error.value)


def test_unlabelled_images_are_opened_too(dataset):
    (dataset / "images" / "train_3.png").write_bytes(b"broken")
    with pytest.raises(DatasetError, match="train_3"):
        semi_supervised_datalists(dataset)
    assert semi_supervised_datalists(dataset, check=False)


def test_a_picture_in_two_lists_under_two_names_is_found(dataset):
    shutil.copy(dataset / "images" / "val_1.png", dataset / "images" / "train_3.png")
    with pytest.raises(
        DatasetError, match=r"train_3.png \(unlabeled\).* are the same picture|val_1.png .*same picture"
    ):
        semi_supervised_datalists(dataset)


def test_without_lists_the_message_names_the_option(tiny_dataset):
    with pytest.raises(DatasetError, match=r"labeled.txt is missing(.|\n)*labeled_fraction"):
        semi_supervised_datalists(tiny_dataset)


@pytest.mark.parametrize("arguments", [{"labeled_fraction": 0.0}, {"labeled_fraction": 1.5}, {"split": "train"}])
def test_arguments_out_of_range_raise(tiny_dataset, arguments):
    with pytest.raises(ValueError, match="must be"):
        semi_supervised_datalists(tiny_dataset, **arguments)


def test_a_real_label_stays_and_says_so():
    label = torch.ones(1, 4, 5)
    case = PlaceholderLabeld("label")({"image": torch.zeros(3, 4, 5), "label": label})
    assert case["labeled"] is True
    assert case["label"] is label


def test_a_missing_label_becomes_nan_of_the_image_s_size():
    case = PlaceholderLabeld("label")({"image": torch.zeros(3, 4, 5)})
    assert case["labeled"] is False
    assert case["label"].shape == (1, 4, 5)
    assert case["label"].isnan().all()


def test_perturbation_changes_brightness_and_hue_within_bounds_image_by_image():
    torch.manual_seed(0)
    grey = torch.full((64, 3, 2, 2), 0.5)  # without a hue: only the brightness shows
    bright = ColorPerturbation()(grey)
    assert 0.4 - 1e-6 <= bright.min() < 0.42
    assert 0.58 < bright.max() <= 0.6 + 1e-6
    assert bright[:, 0, 0, 0].unique().numel() > 32
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(64, 3, 2, 2)
    turned = ColorPerturbation(brightness=0.0)(red)
    assert 0.2 < turned[:, 1:].max() <= 6 * 0.05 + 1e-3  # a turn of 1/6 is the whole way from red to yellow
    assert ColorPerturbation()(grey[:0]).shape == (0, 3, 2, 2)
    assert ColorPerturbation()(grey[:, :1]).shape == (64, 1, 2, 2)
    with pytest.raises(ValueError, match=r"must be \(B, C, H, W\)"):
        ColorPerturbation()(grey[:, :2])

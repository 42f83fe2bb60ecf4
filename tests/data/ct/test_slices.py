from __future__ import annotations

import json
import logging

import h5py
import numpy as np
import pytest

from condseg_monai.data.ct import slices as module
from condseg_monai.data.ct.slices import LoadSliced, ResizeSliced, check_slices, read_slice
from condseg_monai.data.lists.pairing import DatasetError
from tests.ct import write_h5

NAMES = ("background", "liver", "spleen")
TRAIN = ["case0005_slice000", "case0005_slice001", "case0006_slice000"]


def write_slice(root, name, label=1, image=0.5, size=(6, 4)):
    (root / "train_npz").mkdir(exist_ok=True)
    values, numbers = np.full(size, image, dtype=np.float64), np.zeros(size)
    numbers[1:3] = label  # TransUNet's labels are floating point
    np.savez(root / "train_npz" / f"{name}.npz", image=values, label=numbers)


def write_volume(root, name, depth=3):
    (root / "test_vol_h5").mkdir(exist_ok=True)
    with h5py.File(root / "test_vol_h5" / f"{name}.npy.h5", "w") as file:
        file["image"] = np.linspace(0, 1, depth * 24).reshape(depth, 6, 4)
        file["label"] = np.arange(depth, dtype=np.float32)[:, None, None] * np.ones((1, 6, 4))


@pytest.fixture
def dataset(tmp_path):
    """Three training slices, of which the last is empty, and a test volume, as TransUNet has them."""
    for name in TRAIN:
        write_slice(tmp_path, name, label=0 if "0006" in name else 1)
    write_volume(tmp_path, "case0001")
    (tmp_path / "lists" / "lists_Synapse").mkdir(parents=True)
    (tmp_path / "lists" / "lists_Synapse" / "train.txt").write_text("\n".join(TRAIN) + "\n")
    (tmp_path / "lists" / "lists_Synapse" / "test_vol.txt").write_text("case0001\n")
    return tmp_path


def test_lists_of_slices_and_of_volumes_are_read(dataset):
    cases = check_slices(dataset, ["train", "test"], NAMES)
    assert [case["image"].rpartition("/")[2] for case in cases["train"]] == [f"{name}.npz" for name in TRAIN]
    assert [case["slice"] for case in cases["train"]] == [-1, -1, -1]
    assert [case["has_organ"] for case in cases["train"]] == [True, True, False]
    assert [case["slice"] for case in cases["test"]] == [0, 1, 2]
    assert [case["has_organ"] for case in cases["test"]] == [False, True, True]
    assert all(case["label"] == case["image"] for case in cases["test"])


def test_a_slice_of_a_volume_is_that_slice(dataset):
    image, label = read_slice(dataset / "test_vol_h5" / "case0001.npy.h5", 2)
    np.testing.assert_allclose(image, np.linspace(0, 1, 72).reshape(3, 6, 4)[2], rtol=1e-6)
    assert (image.dtype, label.dtype) == (np.float32, np.uint8) and (label == 2).all()


def test_loading_and_resizing(dataset):
    (case, *_) = check_slices(dataset, ["train"], NAMES)["train"]
    loaded = LoadSliced(("image", "label"), 3)(case)
    assert loaded["image"].shape == loaded["label"].shape == (1, 6, 4)
    assert loaded["label"].unique().tolist() == [0, 1] and loaded["slice"] == -1
    resized = ResizeSliced("image", "label", (12, 8))({**loaded, "image": loaded["image"].repeat(3, 1, 1)})
    assert resized["image"].shape == (3, 12, 8) and resized["label"].shape == (1, 12, 8)
    assert resized["label"].unique().tolist() == [0, 1]
    assert resized["label"].mean() == pytest.approx(loaded["label"].mean().item(), abs=0.1)


def test_without_lists_those_of_transunet_are_taken(tmp_path, caplog):
    with caplog.at_level(logging.INFO), pytest.raises(DatasetError, match=r"has 2211 problem\(s\)"):
        check_slices(tmp_path, ["train"], NAMES)
    assert "taking the list that TransUNet published" in caplog.text


def test_missing_validation_says_what_to_do(dataset):
    with pytest.raises(DatasetError, match="none is published: prepare with --hold_out val=N"):
        check_slices(dataset, ["train", "val"], NAMES)


def test_everything_that_is_wrong_is_listed(dataset):
    write_slice(dataset, "high", label=3)
    write_slice(dataset, "unscaled", image=120)
    write_slice(dataset, "half", label=0.5)
    (dataset / "train_npz" / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    np.savez(dataset / "train_npz" / "flat.npz", image=np.zeros((4, 4)), label=np.zeros((4, 5)))
    np.savez(dataset / "train_npz" / "empty.npz", image=np.zeros((0, 4)), label=np.zeros((0, 4)))
    np.savez(dataset / "train_npz" / "complex.npz", image=np.zeros((4, 4), complex), label=np.zeros((4, 4)))
    names = "high.npz unscaled half broken flat empty complex absent"
    (dataset / "train.txt").write_text("\n".join(names.split()))
    with pytest.raises(DatasetError) as error:
        check_slices(dataset, ["train"], NAMES)
    text = str(error.value)
    for words in (
        "has 8 problem(s)",
        "high.npz: the label has the number 3, but there are 3 classes",
        "unscaled.npz: the image must be windowed to [0, 1], got 120.0 to 120.0",
        "half.npz: the label must hold whole numbers from 0 to 255, got 0.0 to 0.5",
        "broken.npz cannot be read as slice and label",
        "flat.npz: image and label must be (H, W) of one size",
        "empty.npz: image and label must be (H, W) of one size",
        "complex.npz: image and label must be real numbers, got complex128 and float64",
        "absent: there is neither",
    ):
        assert words in text


def test_every_damage_of_an_archive_is_named(dataset):
    """zlib, zipfile and NumPy each have their own errors."""
    path = dataset / "train_npz" / "case0005_slice000.npz"
    values = np.random.default_rng(0).random((64, 64))
    np.savez_compressed(path, image=values, label=values > 2)
    whole = path.read_bytes()
    for place in range(0, len(whole), 997):
        path.write_bytes(whole[:place] + bytes(40) + whole[place + 40 :])
        try:
            read_slice(path)
        except DatasetError as error:
            assert str(path) in str(error)


def test_an_archive_that_unpacks_to_gigabytes_is_refused_by_a_stated_limit(dataset, monkeypatch):
    path = dataset / "train_npz" / "case0005_slice000.npz"
    monkeypatch.setattr(module, "MAX_SLICE_BYTES", 1 << 20)
    np.savez_compressed(path, image=np.zeros((512, 512)), label=np.zeros((512, 512)))
    assert path.stat().st_size < 10_000
    with pytest.raises(DatasetError, match=r"case0005_slice000\.npz unpacks to 419\d{4} bytes, .* limit of 1048576"):
        check_slices(dataset, ["train"], NAMES)


def test_a_slice_of_a_volume_that_unpacks_to_gigabytes_is_refused_too(dataset, monkeypatch):
    monkeypatch.setattr(module, "MAX_SLICE_BYTES", 1 << 20)
    slices = np.zeros((2, 512, 512), np.float32)
    path = write_h5(dataset / "a.npy.h5", slices, slices)
    with pytest.raises(DatasetError, match=r"a\.npy\.h5 unpacks to 2097152 bytes, .* limit of 1048576"):
        read_slice(path, 0)


def test_unchecked_files_are_not_opened(dataset, monkeypatch):
    monkeypatch.setattr(module, "read_slice", lambda *_: pytest.fail("opened"))
    assert len(check_slices(dataset, ["train"], NAMES, check=False)["train"]) == 3


def test_a_slice_in_two_lists_is_an_error_and_a_case_in_two_a_warning(dataset, caplog):
    (dataset / "train.txt").write_text("case0005_slice000\n")
    (dataset / "val.txt").write_text("case0005_slice001\n")
    check_slices(dataset, ["train", "val"], NAMES)
    assert "case0005: slices in both train and val" in caplog.text
    (dataset / "val.txt").write_text("case0005_slice000\n")
    with pytest.raises(DatasetError, match="1 slices are in both train and val"):
        check_slices(dataset, ["train", "val"], NAMES)


def test_a_name_twice_in_a_list_is_an_error(dataset):
    (dataset / "train.txt").write_text("case0005_slice000\ncase0005_slice000\n")
    with pytest.raises(DatasetError, match="names twice: case0005_slice000"):
        check_slices(dataset, ["train"], NAMES)


def test_the_classes_that_prepare_wrote_down_must_be_those_of_the_training(dataset):
    (dataset / "dataset.json").write_text(json.dumps({"class_names": ["background", "spleen", "liver"]}))
    with pytest.raises(DatasetError, match="the classes are background, spleen, liver, but --class_names"):
        check_slices(dataset, ["train"], NAMES)
    assert check_slices(dataset, ["train"], ["background", "spleen", "liver"])["train"]
    (dataset / "dataset.json").write_text("[half")
    with pytest.raises(DatasetError, match=r"dataset\.json is damaged or no JSON"):
        check_slices(dataset, ["train"], NAMES)


def test_a_changed_file_changes_its_case(dataset):
    before = check_slices(dataset, ["train"], NAMES)["train"][0]
    write_slice(dataset, TRAIN[0], size=(8, 8))
    assert check_slices(dataset, ["train"], NAMES)["train"][0]["modified"] != before["modified"]


def test_unknown_split_raises(dataset):
    with pytest.raises(ValueError, match="split must be one of train, val, test, got 'tset'"):
        check_slices(dataset, ["tset"], NAMES)

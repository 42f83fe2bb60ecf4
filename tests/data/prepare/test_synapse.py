from __future__ import annotations

import gzip
import importlib
import json

import h5py
import nibabel
import numpy as np
import pytest

from condseg_monai.cli.commands import main
from condseg_monai.data.ct.slices import check_slices
from condseg_monai.data.ct.synapse import synapse_class_names
from condseg_monai.data.lists.pairing import DatasetError
from condseg_monai.data.prepare.synapse import find_volume_pairs
from condseg_monai.data.prepare.synapse import prepare_synapse as prepare  # the function
from tests.ct import turned

MODULE = importlib.import_module("condseg_monai.data.prepare.synapse")  # its name is the function's, too
SHAPE = (6, 5, 4)
AFFINE = np.diag([2.0, 3.0, 5.0, 1.0])


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def scan(depth=SHAPE[2], labels=14):
    """Hounsfield units that tell the place, and every label; towards right, front and head."""
    shape = (*SHAPE[:2], depth)
    image = np.arange(np.prod(shape)).reshape(shape).astype(np.int16) % 130 * 4 - 200
    label = (np.arange(np.prod(shape)).reshape(shape) % labels).astype(np.uint8)
    return image, label


def btcv(root, numbers, depths=None):
    for number in numbers:
        image, label = scan((depths or {}).get(f"case{number:04d}", SHAPE[2]))
        save(root / "img" / f"img{number:04d}.nii.gz", image)
        save(root / "label" / f"label{number:04d}.nii.gz", label)
    return root


@pytest.fixture
def small_lists(monkeypatch):
    """A published split of two training cases, of 4 and 3 slices, and a test case."""
    lists = {
        "train": [f"case0005_slice{i:03d}" for i in range(4)] + [f"case0006_slice{i:03d}" for i in range(3)],
        "test": ["case0001"],
    }
    monkeypatch.setattr(MODULE, "published_list", lambda _, split: lists[split])
    return lists


def test_btcv_becomes_the_files_of_transunet(tmp_path, small_lists):
    source = btcv(tmp_path / "src", [1, 5, 6], {"case0006": 3})
    save(source / "Testing" / "img" / "img0061.nii.gz", scan()[0])
    record = prepare(source, tmp_path / "dst")
    assert (tmp_path / "dst" / "train.txt").read_text().split() == small_lists["train"]
    assert (tmp_path / "dst" / "test_vol.txt").read_text().split() == ["case0001"]
    assert record["class_names"] == list(synapse_class_names())
    assert record["notes"] == ["left out: 1 images without labels"]
    assert json.loads((tmp_path / "dst" / "dataset.json").read_text()) == record
    image, label = scan()
    with np.load(tmp_path / "dst" / "train_npz" / "case0005_slice001.npz") as content:
        values, numbers = content["image"], content["label"]
    # RAS: the second slice from the feet; rows from the front, so against A, columns from the right, so against R
    expected = np.clip((image[::-1, ::-1, 1].T + 125) / 400, 0, 1)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    table = {8: 1, 4: 2, 3: 3, 2: 4, 6: 5, 11: 6, 1: 7, 7: 8}
    np.testing.assert_array_equal(numbers, np.vectorize(lambda n: table.get(n, 0))(label[::-1, ::-1, 1].T))
    with h5py.File(tmp_path / "dst" / "test_vol_h5" / "case0001.npy.h5") as file:
        assert file["image"].shape == file["label"].shape == (4, 5, 6)
        np.testing.assert_array_equal(file["label"][1], numbers)
        assert file.attrs["spacing_mm"].tolist() == [5.0, 3.0, 2.0]
    cases = check_slices(tmp_path / "dst", ["train", "test"], synapse_class_names())
    assert [len(cases[split]) for split in ("train", "test")] == [7, 4]


@pytest.mark.parametrize("codes", ["LPS", "LAS", "SRA", "ILP"])
def test_orientation_of_the_file_does_not_matter(tmp_path, codes):
    image, label = scan(labels=9)
    for folder, orientation in (("src", "RAS"), ("turned", codes)):
        for name, array in (("ct", image), ("label", label)):
            save(tmp_path / folder / f"{name}.nii", *turned(array, AFFINE, orientation))
        prepare(tmp_path / folder, tmp_path / f"{folder}_out", source_labels="transunet")
    for index in range(4):
        one, other = (
            np.load(tmp_path / f"{folder}_out" / "train_npz" / f"{folder}_slice{index:03d}.npz")
            for folder in ("src", "turned")
        )
        for key in ("image", "label"):
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"source_labels": "transunet"}, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ({"source_labels": "samed"}, [0, 7, 4, 3, 2, 5, 8, 1, 6]),
        ({"source_labels": "transunet", "organ_order": "samed"}, [0, 7, 4, 3, 2, 5, 8, 1, 6]),
        ({"class_names": [f"class {i}" for i in range(9)]}, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_labels_are_renumbered_by_name(tmp_path, arguments, expected):
    if arguments == {"source_labels": "transunet", "organ_order": "samed"}:
        names = synapse_class_names("samed")
        expected = [names.index(name) for name in synapse_class_names("transunet")]
    image, label = scan(labels=9)
    save(tmp_path / "src" / "ct.nii", image)
    save(tmp_path / "src" / "label.nii", label)
    prepare(tmp_path / "src", tmp_path / "dst", **arguments)
    with np.load(tmp_path / "dst" / "train_npz" / "src_slice000.npz") as content:
        np.testing.assert_array_equal(content["label"], np.array(expected)[label[::-1, ::-1, 0].T])


def test_numbers_whose_meaning_nobody_said_are_refused(tmp_path):
    save(tmp_path / "src" / "ct.nii", scan()[0])
    save(tmp_path / "src" / "label.nii", scan()[1])
    with pytest.raises(ValueError, match=r"source_labels must say what the numbers in .*label\.nii"):
        prepare(tmp_path / "src", tmp_path / "dst")
    with pytest.raises(DatasetError, match=r"label\.nii has labels from 0 to 12, .* for 0 to 8"):
        prepare(tmp_path / "src", tmp_path / "dst", source_labels="samed")
    assert not (tmp_path / "dst").exists()


def test_a_case_with_another_slice_count_is_refused_and_nothing_is_left(tmp_path, small_lists):
    source = btcv(tmp_path / "src", [1, 5, 6])
    with pytest.raises(DatasetError, match="case0006 has 4 slices and 3 in TransUNet's list"):
        prepare(source, tmp_path / "dst")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["src"]


def test_missing_published_cases_stop_it_unless_allowed(tmp_path, small_lists):
    source = btcv(tmp_path / "src", [5])
    with pytest.raises(DatasetError, match="lacks 2 of the 30 published cases: case0001, case0006"):
        prepare(source, tmp_path / "dst")
    record = prepare(source, tmp_path / "dst", allow_missing=True)
    assert record["splits"]["train"]["missing"] == ["case0006"] and "test" not in record["splits"]


def test_cases_and_odd_slices_can_be_held_out(tmp_path, small_lists):
    source = btcv(tmp_path / "src", [1, 5, 6], {"case0006": 3})
    record = prepare(source, tmp_path / "cases", hold_out={"val": 1})
    train, val = ((tmp_path / "cases" / f"{split}.txt").read_text().split() for split in ("train", "val"))
    assert {name[:8] for name in train}.isdisjoint(name[:8] for name in val) and len(train) + len(val) == 7
    assert record["splits"]["val"]["origin"] == "ours"
    prepare(source, tmp_path / "odd", hold_out={"val": "odd"})
    train, val = ((tmp_path / "odd" / f"{split}.txt").read_text().split() for split in ("train", "val"))
    assert train == small_lists["train"][::2] and val == small_lists["train"][1::2]
    with pytest.raises(ValueError, match="hold_out can make val here, got 'test'"):
        prepare(source, tmp_path / "third", hold_out={"test": 1})


def test_volumes_that_cannot_be_used_are_all_listed(tmp_path):
    image, label = scan(labels=9)
    save(tmp_path / "src" / "img" / "a.nii.gz", image)
    save(tmp_path / "src" / "label" / "a.nii.gz", label[:-1])
    save(tmp_path / "src" / "img" / "b.nii.gz", image)
    save(tmp_path / "src" / "label" / "b.nii.gz", label, AFFINE + np.eye(4, k=3) * 40)
    save(tmp_path / "src" / "img" / "c.nii.gz", np.clip(image / 400.0, 0, 1))
    save(tmp_path / "src" / "label" / "c.nii.gz", label)
    save(tmp_path / "src" / "img" / "d.nii.gz", image)
    save(tmp_path / "src" / "label" / "d.nii.gz", label)
    header = nibabel.Nifti1Header()
    header["vox_offset"] = np.inf  # an OverflowError in nibabel
    (tmp_path / "src" / "label" / "d.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(4)))
    with pytest.raises(DatasetError) as error:
        prepare(tmp_path / "src", tmp_path / "dst", source_labels="samed")
    text = str(error.value)
    assert "4 problem(s), nothing was written" in text
    assert "they do not belong together" in text and "lies up to 40.0 mm away" in text
    assert "not Hounsfield units" in text and "label/d.nii.gz is not a NIfTI volume" in text


@pytest.mark.parametrize(
    ("files", "cases"),
    [
        (["img/img0007.nii.gz", "label/label0007.nii.gz"], ["case0007"]),
        (["imagesTr/liver_1.nii", "labelsTr/liver_1.nii"], ["liver_1"]),
        (["p1/ct.nii.gz", "p1/segmentation.nii.gz", "p2/ct.nii.gz", "p2/segmentation.nii.gz"], ["p1", "p2"]),
        (["a_ct.nii", "a_seg.nii", "b_ct.nii", "b_seg.nii"], ["a", "b"]),
        (["img/scan01.nii", "label/scan01.nii", "img/scan02.nii", "label/scan02.nii"], ["scan01", "scan02"]),
    ],
)
def test_pairs_are_found_by_name(tmp_path, files, cases):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    pairs, unlabelled = find_volume_pairs(tmp_path)
    assert [pair.case for pair in pairs] == cases and unlabelled == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["ct.nii"], "there is no image with a label"),
        (["a.nii", "label/b.nii"], "has no image"),
        (["a.nii", "a.nii.gz", "label/a.nii"], "look like the same image"),
    ],
)
def test_files_that_do_not_pair_are_named(tmp_path, files, words):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    with pytest.raises(DatasetError, match=words):
        find_volume_pairs(tmp_path)


def test_command(tmp_path, capsys):
    save(tmp_path / "src" / "ct.nii.gz", scan(labels=9)[0])
    save(tmp_path / "src" / "label.nii.gz", scan(labels=9)[1])
    words = ["prepare", "synapse", str(tmp_path / "src"), str(tmp_path / "dst")]
    assert main(words) == 1
    assert "source_labels must say" in capsys.readouterr().err
    assert main([*words, "--source_labels", "transunet", "--hold_out", "val=odd"]) == 0
    assert "train: 2 slices, our own split" in capsys.readouterr().out
    assert main([*words, "--source_labels", "transunet"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--source_labels", "transunet", "--overwrite"]) == 0

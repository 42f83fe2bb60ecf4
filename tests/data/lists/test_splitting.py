"""Seeded splits and folds of a data set, stratified by lesion size, that keep groups of images together."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from condseg_monai.cli.commands import main
from condseg_monai.data.lists.datalist import check_datalist
from condseg_monai.data.lists.pairing import DatasetError, find_cases
from condseg_monai.data.lists.splitting import read_groups, split_dataset


@pytest.fixture
def dataset(tmp_path):
    """60 cases of 20 patients, a quarter without lesion, the others with squares of 1 to 12 pixels a side."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    random = np.random.default_rng(0)
    for i in range(60):
        stem = f"p{i % 20:02d}_{i:02d}"
        Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{stem}.png")
        mask = np.zeros((16, 16), np.uint8)
        side = 0 if i % 4 == 0 else 1 + i % 12
        mask[:side, :side] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{stem}.png")
    return tmp_path


def lists(root, *names):
    return {name: (root / f"{name}.txt").read_text().split() for name in names}


def test_every_list_has_its_share_of_small_and_large_lesions(dataset):
    record = split_dataset(dataset, {"train": 0.6, "val": 0.2, "test": 0.2})
    drawn = lists(dataset, "train", "val", "test")
    assert {name: len(files) for name, files in drawn.items()} == {"train": 36, "val": 12, "test": 12}
    assert len({file for files in drawn.values() for file in files}) == 60
    facts = record["lists"]
    assert [facts[name]["empty_masks"] for name in ("train", "val", "test")] == [9, 3, 3]
    shares = [facts[name]["median_lesion_share"] for name in ("train", "val", "test")]
    assert max(shares) < 2 * min(shares)
    assert json.loads((dataset / "split.json").read_text()) == json.loads(json.dumps(record))


def test_same_seed_draws_the_same_lists(dataset):
    first = split_dataset(dataset, seed=3)["lists"]
    assert split_dataset(dataset, seed=3, overwrite=True)["lists"] == first
    assert split_dataset(dataset, seed=4, overwrite=True)["lists"] != first


@pytest.mark.parametrize("folds", [None, 5])
def test_patient_never_crosses_lists(dataset, folds):
    split_dataset(dataset, {"test": 0.2} if folds else None, folds, group=r"^(p\d+)_")
    pairs = [("train", "val"), ("train", "test"), ("val", "test")]
    if folds:
        pairs = [(f"folds/{k}/{a}", f"folds/{k}/{b}") for k in range(5) for a, b in [("train", "val")]]
        pairs += [(f"folds/{k}/train", "test") for k in range(5)]
    for a, b in pairs:
        drawn = lists(dataset, a, b)
        patients = [{file[:3] for file in drawn[name]} for name in (a, b)]
        assert patients[0] and patients[1] and patients[0].isdisjoint(patients[1])


def test_folds_validate_on_each_case_once(dataset):
    split_dataset(dataset, folds=4)
    drawn = [lists(dataset / "folds" / str(k), "train", "val") for k in range(4)]
    assert sorted(file for one in drawn for file in one["val"]) == sorted(
        p.name for p in (dataset / "images").iterdir()
    )
    assert all(len(one["train"]) == 45 and len(one["val"]) == 15 for one in drawn)
    pairing = find_cases(dataset, ("train", "val"), fold=2)
    assert pairing.problems == [] and len(pairing.cases["val"]) == 15


def test_lists_of_a_fold_can_be_checked(dataset, capsys):
    split_dataset(dataset, {"test": 0.2}, folds=4)
    assert main(["check", str(dataset), "--fold", "1"]) == 0
    first_words = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if line]
    assert ["train", "36"] in first_words and ["val", "12"] in first_words
    (dataset / "folds" / "1" / "val.txt").write_text("nothing.png\n")
    assert main(["check", str(dataset), "--fold", "1"]) == 1 and main(["check", str(dataset), "--fold", "0"]) == 0
    assert main(["check", str(dataset), "--fold", "7"]) == 1
    assert "folds/7/train.txt is missing" in capsys.readouterr().out


def test_equal_pictures_stay_together(dataset):
    for i in range(1, 60, 2):  # every second picture is that of the one before it
        first = sorted((dataset / "images").iterdir())[i - 1]
        sorted((dataset / "images").iterdir())[i].write_bytes(first.read_bytes())
    split_dataset(dataset)
    drawn = lists(dataset, "train", "val", "test")
    pictures = [{(dataset / "images" / file).read_bytes() for file in files} for files in drawn.values()]
    assert all(a.isdisjoint(b) for a, b in ((pictures[0], pictures[1]), (pictures[0], pictures[2])))


def test_groups_come_from_a_csv_or_a_pattern(tmp_path):
    (tmp_path / "groups.csv").write_text("name,group\na.png,x\nb,x\nc,y\n")
    assert read_groups(tmp_path / "groups.csv", ["a", "b", "c"]) == ["x", "x", "y"]
    assert read_groups("^[a-z]+", ["ab1", "ab2", "c3"]) == ["ab", "ab", "c"]
    assert read_groups(None, ["a", "b"]) == ["a", "b"]


def test_names_of_a_csv_may_be_written_as_in_a_list(tmp_path):
    (tmp_path / "groups.csv").write_text("name, group\na/p00.png, P0\n a/p01 ,P0 \nb\\p00.png,P1\nscan.2,P1\n")
    assert read_groups(tmp_path / "groups.csv", ["a/p00", "a/p01", "b/p00", "scan.2"]) == ["P0", "P0", "P1", "P1"]
    (tmp_path / "groups.csv").write_text("images/a.png,x\nb.jpg,x\n")
    assert read_groups(tmp_path / "groups.csv", ["a", "b"]) == ["x", "x"]


def test_name_with_two_groups_is_named(tmp_path):
    (tmp_path / "groups.csv").write_text("a,x\nb,y\na.png,z\n")
    with pytest.raises(ValueError, match="group: a is in two groups, x and z"):
        read_groups(tmp_path / "groups.csv", ["a", "b"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--group", "^(q)"], "gives no group for 60 case(s): p00_00, p00_20"),
        (["--group", "("], "is neither a .csv file nor a regular expression"),
        (["--val", "1"], "shares must be"),
        (["--val", "0"], "shares must be of train, val"),
        (["--folds", "40", "--group", "^(p)"], "there are 1 groups for 41 lists"),
    ],
)
def test_what_cannot_be_drawn_is_an_error_and_writes_nothing(dataset, arguments, words, capsys):
    assert main(["split", str(dataset), *arguments]) == 1
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert sorted(path.name for path in dataset.iterdir()) == ["images", "masks"]


def test_cases_in_sub_folders_are_listed_with_them_and_make_groups(dataset):
    for path in [*(dataset / "images").iterdir(), *(dataset / "masks").iterdir()]:
        target = path.parent / path.name[:3] / f"{int(path.stem[4:]) // 20}.png"  # three names, in each of 20 folders
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    split_dataset(dataset, group="^(.+)/")
    cases = check_datalist(dataset, ["train", "val", "test"])  # every line is found, and no case is on two lists
    folders = {name: {case["name"].split("/")[0] for case in listed} for name, listed in cases.items()}
    assert sum(map(len, cases.values())) == 60 and sum(map(len, folders.values())) == 20


def test_lists_of_further_folds_go_with_the_others(dataset, capsys):
    split_dataset(dataset, folds=4)
    assert main(["split", str(dataset), "--folds", "2"]) == 1
    assert main(["split", str(dataset), "--folds", "2", "--overwrite"]) == 0
    assert sorted(path.parent.name for path in (dataset / "folds").glob("*/val.txt")) == ["0", "1"]


def test_masks_that_do_not_reach_the_threshold_are_not_taken_for_empty_ones(dataset):
    for path in (dataset / "masks").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) // 255).save(path)
    with pytest.raises(DatasetError, match="no mask has a value above --mask_threshold 127, the largest is 1"):
        split_dataset(dataset)
    assert split_dataset(dataset, mask_threshold=0)["lists"]["train"]["empty_masks"] == 12


def test_name_that_is_not_utf8_is_named(dataset):
    for name in ("images", "masks"):
        (dataset / name / "p00_00.png").rename(dataset / name / os.fsdecode(b"\xff.png"))
    with pytest.raises(DatasetError, match=r"1 name\(s\) are not UTF-8, as a list is"):
        split_dataset(dataset)


@pytest.mark.parametrize("stem", ["a\nb", "a\u2028b", "a\x0bb", "a\x85b", " a", "a\\b"])
def test_name_that_a_list_cannot_have_is_named(dataset, stem):
    for name in ("images", "masks"):
        (dataset / name / "p00_00.png").rename(dataset / name / f"{stem}.png")
    with pytest.raises(DatasetError) as error:
        split_dataset(dataset)
    assert str(error.value).endswith(f"rename {f'{stem}.png'!r}") and not (dataset / "train.txt").exists()


def test_several_classes_are_spread_by_what_is_not_background(dataset, capsys):
    for path in (dataset / "masks").iterdir():
        mask = np.asarray(Image.open(path)) // 255
        Image.fromarray(mask * (1 + mask.sum() % 2).astype(np.uint8)).save(path)
    assert main(["split", str(dataset)]) == 1
    assert "or --class_names for several classes" in capsys.readouterr().err
    assert main(["split", str(dataset), "--classes", "background,lesion,tool"]) == 0
    record = json.loads((dataset / "split.json").read_text())
    assert record["classes"] == {"background": 0, "lesion": 1, "tool": 2} and record["mask_threshold"] is None
    assert record["lists"]["train"]["empty_masks"] == 12
    values = ["--class_names", "background,lesion", "--class_values", "0,1", "--overwrite"]
    assert main(["split", str(dataset), *values]) == 1
    assert "values of no class: 2" in capsys.readouterr().err


def test_negative_seed_is_a_wrong_call(dataset, capsys):
    assert main(["split", str(dataset), "--seed", "-1"]) == 2
    assert "'--seed': -1 is not in the range x>=0" in capsys.readouterr().err


def test_lists_that_are_there_are_kept(dataset, capsys):
    (dataset / "val.txt").write_text("mine\n")
    assert main(["split", str(dataset)]) == 1
    assert "val.txt exists" in capsys.readouterr().err
    assert (dataset / "val.txt").read_text() == "mine\n" and not (dataset / "train.txt").exists()
    assert main(["split", str(dataset), "--overwrite"]) == 0
    assert "condseg train" in capsys.readouterr().out
    assert main(["split", str(dataset), "--folds", "3", "--test", "0"]) == 1
    assert "split.json exists" in capsys.readouterr().err


def test_cases_without_a_mask_or_damaged_are_all_named(dataset):
    files = sorted((dataset / "masks").iterdir())
    files[0].unlink()
    with pytest.raises(DatasetError, match=r"p00_00: masks/ has no such file"):
        split_dataset(dataset)
    (dataset / "images" / files[0].name).unlink()
    files[1].write_bytes(b"no image")
    with pytest.raises(DatasetError, match="1 case"):
        split_dataset(dataset)


def test_masks_may_have_a_suffix_behind_the_stem(dataset, capsys):
    for path in list((dataset / "masks").iterdir()):
        path.rename(path.with_stem(f"{path.stem}_mask"))
    assert main(["split", str(dataset)]) == 1
    error = capsys.readouterr().err.splitlines()
    assert "have _mask behind their image's stem, " in error[-1] and error[-1].endswith(": give --mask_suffix=_mask")
    assert len(error) == 1
    suffix = ["--mask_suffix", "_mask"]
    assert main(["split", str(dataset), *suffix]) == 0
    assert "--mask_suffix=_mask" in capsys.readouterr().out.splitlines()[-1]  # in the command that comes next
    assert main(["check", str(dataset), *suffix]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["Next", f"  condseg train {dataset} --mask_suffix=_mask"]
    for command in (["check", str(dataset)], ["train", str(dataset)], ["evaluate", "condseg_polyp", str(dataset)]):
        assert main(command) == 1
        output = capsys.readouterr()
        assert "give --mask_suffix=_mask" in (output.err or output.out).splitlines()[-1]
    assert main(["split", str(dataset), "--mask_suffix=_msk", "--overwrite"]) == 1
    assert "no file in masks/ has _msk behind its stem: give another" in capsys.readouterr().err.splitlines()[-1]
    cases = check_datalist(dataset, ["val"], mask_suffix="_mask")["val"]
    assert all(case["label"].endswith("_mask.png") for case in cases) and len(cases) == 6


def test_second_masks_of_an_image_are_pointed_out(dataset, capsys):
    for mask in (dataset / "masks").iterdir():
        shutil.copyfile(mask, mask.with_stem(f"{mask.stem}_mask_1"))
        mask.rename(mask.with_stem(f"{mask.stem}_mask"))
    count = len(list((dataset / "images").iterdir()))
    main(["check", str(dataset), "--mask_suffix=_mask"])
    said = capsys.readouterr().out
    assert f"{count} file(s) in masks/ without an image, or without _mask behind its stem: " in said
    assert "_mask_1.png" in said

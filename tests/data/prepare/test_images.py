import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condseg_monai.data.lists.datalist import check_datalist
from condseg_monai.data.lists.dataset_report import inspect_dataset
from condseg_monai.data.lists.pairing import DatasetError, read_list
from condseg_monai.data.lists.published_splits import published_list
from condseg_monai.data.prepare.download_layouts import LAYOUTS
from condseg_monai.data.prepare.images import prepare_dataset
from condseg_monai.data.prepare.new_folder import built_beside


def encoded(kind: str, array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


MASK = np.array([[0, 0, 255, 255]], dtype=np.uint8)
JPEG = encoded("JPEG", np.zeros((1, 4, 3), dtype=np.uint8))
PNG_MASK = encoded("PNG", MASK)


def put(path: Path, content: bytes = JPEG) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def kvasir(root: Path, ids) -> Path:
    for name in ids:
        put(root / "Kvasir-SEG" / "images" / f"{name}.jpg")
        put(root / "Kvasir-SEG" / "masks" / f"{name}.jpg", JPEG)
    put(root / "Kvasir-SEG" / "kavsir_bboxes.json", b"{}")
    put(root / "__MACOSX" / "Kvasir-SEG" / "images" / "._x.jpg", b"resource fork")
    return root


def glas(root: Path) -> Path:
    """Gland numbers as grey values, in Test B as indices of a palette without a bright colour."""
    folder = root / "Warwick QU Dataset (Released 2016_07_08)"
    numbers = np.array([[0, 1, 2, 130]], dtype=np.uint8)
    indices = Image.new("P", (4, 1))
    indices.putpalette([0, 0, 0] + [1, 1, 1] + [0, 0, 0] * 254)
    indices.putdata([0, 1, 2, 130])
    for name in published_list("glas", "train") + published_list("glas", "test"):
        put(folder / f"{name}.bmp", encoded("BMP", np.zeros((1, 4, 3), dtype=np.uint8)))
        if name.startswith("testB"):
            indices.save(folder / f"{name}_anno.bmp")
        else:
            put(folder / f"{name}_anno.bmp", encoded("BMP", numbers))
    put(folder / "Grade.csv", b"name,grade\n")
    return root


def isic(root: Path, folders: dict[str, list[str]], suffix: str, superpixels: bool = False) -> Path:
    for folder, ids in folders.items():
        for name in ids:
            put(root / f"{folder}_Data" / f"{name}.jpg")
            put(root / f"{folder}_GroundTruth" / f"{name}_{suffix}.png", PNG_MASK)
            if superpixels:
                put(root / f"{folder}_Data" / f"{name}_superpixels.png", PNG_MASK)
    return root


class TestKvasirSeg:
    def test_published_lists_and_untouched_files(self, tmp_path):
        train, val = published_list("kvasir-seg", "train"), published_list("kvasir-seg", "val")
        record = prepare_dataset("kvasir-seg", kvasir(tmp_path / "src", train + val), tmp_path / "dst")
        assert names_in(tmp_path / "dst") == ["dataset.json", "images", "masks", "train.txt", "val.txt"]
        assert read_list(tmp_path / "dst" / "train.txt") == train and read_list(tmp_path / "dst" / "val.txt") == val
        assert len(names_in(tmp_path / "dst" / "images")) == len(names_in(tmp_path / "dst" / "masks")) == 1000
        assert (tmp_path / "dst" / "images" / f"{train[0]}.jpg").read_bytes() == JPEG
        assert record == json.loads((tmp_path / "dst" / "dataset.json").read_text())
        assert record["splits"]["val"]["origin"] == "published" and "no test list is published" in record["notes"][0]
        assert names_in(tmp_path) == ["dst", "src"]  # nothing half done stays
        assert len(check_datalist(tmp_path / "dst", ("val",), check=False)["val"]) == 120

    def test_missing_cases_are_listed_or_left_out_on_request(self, tmp_path):
        source = kvasir(tmp_path / "src", [*published_list("kvasir-seg", "train")[1:3], "stranger"])
        masks = source / "Kvasir-SEG" / "masks"
        first, second, third = published_list("kvasir-seg", "train")[:3]
        (masks / f"{third}.jpg").unlink()
        kvasir(source, published_list("kvasir-seg", "val"))
        with pytest.raises(DatasetError) as raised:
            prepare_dataset("kvasir-seg", source, tmp_path / "dst")
        text = str(raised.value)
        assert "train.txt lacks 879 of 880 cases" in text and "val.txt" not in text and "--allow_missing" in text
        assert f"{first}: no image and no mask" in text and f"{third}: no mask" in text and "and 859 more" in text
        assert not (tmp_path / "dst").exists()
        record = prepare_dataset("kvasir-seg", source, tmp_path / "dst", allow_missing=True)
        assert read_list(tmp_path / "dst" / "train.txt") == [second]
        assert len(record["splits"]["train"]["missing"]) == 879 and record["splits"]["val"]["missing"] == []
        assert any("2 images on no list" in note for note in record["notes"])

    def test_a_split_without_any_case_is_an_error(self, tmp_path):
        source = kvasir(tmp_path / "src", published_list("kvasir-seg", "train")[:2])
        with pytest.raises(DatasetError, match=r"no case of val\.txt"):
            prepare_dataset("kvasir-seg", source, tmp_path / "dst", allow_missing=True)

    def test_other_folders_are_told_the_layout(self, tmp_path):
        put(tmp_path / "src" / "a.jpg")
        with pytest.raises(DatasetError, match="it should hold Kvasir-SEG/images"):
            prepare_dataset("kvasir-seg", tmp_path / "src", tmp_path / "dst")
        with pytest.raises(DatasetError, match="is not a folder"):
            prepare_dataset("kvasir-seg", tmp_path / "nowhere", tmp_path / "dst")


class TestKvasirSessile:
    def make(self, root: Path, count: int = 196) -> Path:
        published = published_list("kvasir-seg", "train")
        return kvasir(root, published[: min(count, 150)] + [f"other{i}" for i in range(count - 150)])

    def test_split_is_seeded_complete_and_said_to_be_ours(self, tmp_path):
        source = self.make(tmp_path / "src")
        record = prepare_dataset("kvasir-sessile", source, tmp_path / "a")
        lists = {split: read_list(tmp_path / "a" / f"{split}.txt") for split in ("train", "val", "test")}
        assert {split: len(ids) for split, ids in lists.items()} == {"train": 156, "val": 20, "test": 20}
        assert len({name for ids in lists.values() for name in ids}) == 196
        assert all(split["origin"] == "ours" and "'0 NAME'" in split["source"] for split in record["splits"].values())
        assert any("of test.txt are in the published train list of Kvasir-SEG" in note for note in record["notes"])
        again = prepare_dataset("kvasir-sessile", source, tmp_path / "b")
        other = prepare_dataset("kvasir-sessile", source, tmp_path / "c", seed=1)
        assert again["splits"] == record["splits"] != other["splits"]

    def test_another_number_of_cases_is_not_split_silently(self, tmp_path):
        source = self.make(tmp_path / "src", count=190)
        with pytest.raises(DatasetError, match="has 196 cases, but there are 190"):
            prepare_dataset("kvasir-sessile", source, tmp_path / "dst")
        record = prepare_dataset("kvasir-sessile", source, tmp_path / "dst", allow_missing=True)
        assert "190 of 196" in record["splits"]["test"]["source"] and record["splits"]["test"]["cases"] == 19
        self.make(tmp_path / "src", count=200)
        with pytest.raises(DatasetError, match="has 196 cases, but there are 200"):
            prepare_dataset("kvasir-sessile", source, tmp_path / "more", allow_missing=True)


class TestGlas:
    def test_instance_numbers_become_0_and_255(self, tmp_path):
        record = prepare_dataset("glas", glas(tmp_path / "src"), tmp_path / "dst")
        assert {split: facts["cases"] for split, facts in record["splits"].items()} == {"train": 85, "test": 80}
        for name in ("train_1", "testA_60", "testB_20"):
            mask = np.asarray(Image.open(tmp_path / "dst" / "masks" / f"{name}.png"))
            np.testing.assert_array_equal(mask, [[0, 255, 255, 255]])
        assert len(names_in(tmp_path / "dst" / "images")) == 165
        assert (tmp_path / "dst" / "images" / "train_1.bmp").is_file()
        assert any("no validation list is published" in note for note in record["notes"])
        report = inspect_dataset(tmp_path / "dst", ("train",))
        assert report.summaries["train"].foreground == 0.75 and not report.errors

    def test_some_training_cases_may_be_held_out(self, tmp_path):
        record = prepare_dataset("glas", glas(tmp_path / "src"), tmp_path / "dst", hold_out={"val": 10})
        lists = {split: read_list(tmp_path / "dst" / f"{split}.txt") for split in ("train", "val", "test")}
        assert {split: len(ids) for split, ids in lists.items()} == {"train": 75, "val": 10, "test": 80}
        assert sorted(lists["train"] + lists["val"]) == sorted(published_list("glas", "train"))
        assert {split: facts["origin"] for split, facts in record["splits"].items()} == {
            "train": "ours",
            "val": "ours",
            "test": "published",
        }
        assert not any("no validation list" in note for note in record["notes"])

    @pytest.mark.parametrize("hold_out", [{"test": 5}, {"val": 85}, {"val": 0}, {"valid": 5}])
    def test_senseless_hold_out_raises(self, tmp_path, hold_out):
        with pytest.raises(ValueError, match="hold_out"):
            prepare_dataset("glas", glas(tmp_path / "src"), tmp_path / "dst", hold_out=hold_out)
        assert not (tmp_path / "dst").exists()

    def test_jpeg_masks_and_damaged_masks_are_refused_and_leave_nothing(self, tmp_path):
        mask = glas(tmp_path / "src") / "Warwick QU Dataset (Released 2016_07_08)" / "train_7_anno.bmp"
        mask.write_bytes(JPEG)
        with pytest.raises(DatasetError, match=r"train_7_anno\.bmp is a JPEG"):
            prepare_dataset("glas", tmp_path / "src", tmp_path / "dst")
        mask.write_bytes(b"")
        (mask.parent / "train_9_anno.bmp").write_bytes(JPEG[:20])
        with pytest.raises(
            ValueError, match=r"2 file\(s\) .*\n.*cannot read .*train_7_anno\.bmp.*\n.*train_9_anno\.bmp"
        ):
            prepare_dataset("glas", tmp_path / "src", tmp_path / "dst")
        assert names_in(tmp_path) == ["src"]


class TestIsic:
    def test_2016_masks_lose_their_suffix(self, tmp_path):
        train, test = published_list("isic2016", "train"), published_list("isic2016", "test")
        folders = {"ISBI2016_ISIC_Part1_Training": train, "ISBI2016_ISIC_Part1_Test": test}
        record = prepare_dataset("isic2016", isic(tmp_path / "src", folders, "Segmentation"), tmp_path / "dst")
        assert read_list(tmp_path / "dst" / "test.txt") == test and record["splits"]["train"]["cases"] == 900
        assert (tmp_path / "dst" / "masks" / f"{test[0]}.png").read_bytes() == PNG_MASK
        shared = "746 cases of train.txt are in the published train list of ISIC-2017 too"
        assert shared in record["notes"]

    def make_2017(self, root: Path, test: int) -> Path:
        ids = {split: published_list("isic2017", split)[:8] for split in ("train", "val")}
        taken = set(published_list("isic2017", "train") + published_list("isic2017", "val"))
        numbers = (f"ISIC_{i:07d}" for i in range(12000, 20000))
        free = [name for name in numbers if name not in taken][:test]
        folders = {"ISIC-2017_Training": ids["train"], "ISIC-2017_Validation": ids["val"], "ISIC-2017_Test_v2": free}
        return isic(root, folders, "segmentation", superpixels=True)

    def test_2017_superpixels_are_left_out_and_the_rest_is_the_test_set(self, tmp_path):
        source = self.make_2017(tmp_path / "src", test=600)
        with pytest.raises(DatasetError, match=r"train\.txt lacks 1992 of 2000"):
            prepare_dataset("isic2017", source, tmp_path / "dst")
        record = prepare_dataset("isic2017", source, tmp_path / "dst", allow_missing=True)
        assert {split: facts["cases"] for split, facts in record["splits"].items()} == {
            "train": 8,
            "val": 8,
            "test": 600,
        }
        assert record["splits"]["test"]["origin"] == "ours"
        assert len(names_in(tmp_path / "dst" / "images")) == 616
        assert not list((tmp_path / "dst").rglob("*superpixels*"))
        assert any("616 *_superpixels files" in note for note in record["notes"])

    def test_2017_without_test_images_has_no_test_list(self, tmp_path):
        record = prepare_dataset(
            "isic2017", self.make_2017(tmp_path / "src", test=0), tmp_path / "dst", allow_missing=True
        )
        assert not (tmp_path / "dst" / "test.txt").exists()
        assert any("there is no test.txt" in note for note in record["notes"])

    @pytest.mark.parametrize("test, allow_missing", [(599, False), (601, True)])
    def test_2017_with_another_number_of_test_images_stops(self, tmp_path, test, allow_missing):
        with pytest.raises(DatasetError, match=f"ISIC-2017 test has 600 cases, but there are {test}"):
            prepare_dataset(
                "isic2017",
                self.make_2017(tmp_path / "src", test=test),
                tmp_path / "dst",
                allow_missing=allow_missing,
            )

    def test_one_id_with_two_different_files_stops_and_equal_copies_do_not(self, tmp_path):
        source = self.make_2017(tmp_path / "src", test=0)
        name = published_list("isic2017", "train")[0]
        put(source / "copies" / f"{name}.jpg")
        prepare_dataset("isic2017", source, tmp_path / "dst", allow_missing=True)
        put(source / "copies" / f"{name}.png", PNG_MASK)
        with pytest.raises(DatasetError, match=rf"1 ids have two files that differ.*\n.*{name}\.jpg and .*{name}\.png"):
            prepare_dataset("isic2017", source, tmp_path / "other", allow_missing=True)


def by_folder(root: Path, counts: dict[str, int], images: str, masks: str) -> Path:
    """Files ``0`` and so on in the folders of a download, so that names of different lists are equal."""
    for folder, count in counts.items():
        for number in range(count):
            put(root / images.format(folder, number))
            put(root / masks.format(folder, number), PNG_MASK)
    return root


class TestFoldersThatAreLists:
    POLYPS = ("{}/images/{}.png", "{}/masks/{}.png")
    ISIC = (
        "ISIC2018_Task1-2_{}_Input/ISIC_{:07d}.jpg",
        "ISIC2018_Task1_{}_GroundTruth/ISIC_{:07d}_segmentation.png",
    )

    @pytest.fixture(autouse=True)
    def of_each_twentieth(self, monkeypatch):
        """As many cases in each list as a twentieth of what there is."""
        for dataset in ("pranet", "isic2018"):
            lists = LAYOUTS[dataset].lists.items()
            fewer = {folder: known._replace(cases=known.cases // 20) for folder, known in lists}
            monkeypatch.setitem(LAYOUTS, dataset, LAYOUTS[dataset]._replace(lists=fewer))

    def test_each_test_set_of_polyps_has_a_list_and_equal_names_do_not_clash(self, tmp_path):
        tests = {"CVC-300": 3, "CVC-ClinicDB": 3, "CVC-ColonDB": 19, "ETIS-LaribPolypDB": 9, "Kvasir": 5}
        by_folder(tmp_path / "src" / "TestDataset", tests, *self.POLYPS)
        by_folder(tmp_path / "src", {"TrainDataset": 72}, "{}/Image/{}.png", "{}/mask/{}.png")
        record = prepare_dataset("pranet", tmp_path / "src", tmp_path / "dst", link=True)
        lists = {"train": 72, "cvc_300": 3, "cvc_clinicdb": 3, "cvc_colondb": 19, "etis_laribpolypdb": 9, "kvasir": 5}
        assert {split: facts["cases"] for split, facts in record["splits"].items()} == lists
        assert {facts["origin"] for facts in record["splits"].values()} == {"published"}
        assert read_list(tmp_path / "dst" / "cvc_300.txt") == ["cvc_300/0", "cvc_300/1", "cvc_300/2"]
        assert (tmp_path / "dst" / "images" / "cvc_300" / "0.png").is_symlink()
        cases = check_datalist(tmp_path / "dst", ("kvasir",), check=False)["kvasir"]
        assert len(cases) == 5 and cases[0]["name"] == "kvasir/0"
        assert record["notes"] == [
            "no validation list is published: train with --split kvasir, say, to select the model on the test images, "
            "as papers do, or prepare with --hold_out val=N to take N training cases for it"
        ]

    def test_sets_that_were_not_downloaded_are_noted_and_part_of_one_is_refused(self, tmp_path):
        source = by_folder(tmp_path / "src", {"Kvasir": 5, "CVC-300": 2}, *self.POLYPS)
        with pytest.raises(DatasetError, match="PraNet's polyps, CVC-300, has 3 cases, but there are 2 there"):
            prepare_dataset("pranet", source, tmp_path / "dst")
        record = prepare_dataset("pranet", source, tmp_path / "dst", allow_missing=True)
        assert [*record["splits"]] == ["cvc_300", "kvasir"]
        assert "no cvc_colondb images were found; there is no cvc_colondb.txt" in record["notes"]
        with pytest.raises(ValueError, match="hold_out takes training cases, and there are none: leave out val=5"):
            prepare_dataset("pranet", source, tmp_path / "other", allow_missing=True, hold_out={"val": 5})
        by_folder(tmp_path / "src", {"CVC-300": 3}, *self.POLYPS)
        (source / "Kvasir" / "masks" / "4.png").unlink()
        with pytest.raises(DatasetError, match=r"kvasir\.txt lacks 1 of 5 cases:\n +kvasir/4: no mask"):
            prepare_dataset("pranet", source, tmp_path / "other")

    def test_isic2018_has_the_lists_of_the_challenge(self, tmp_path):
        source = by_folder(tmp_path / "src", {"Training": 129, "Validation": 5, "Test": 50}, *self.ISIC)
        record = prepare_dataset("isic2018", source, tmp_path / "dst", link=True)
        assert {split: facts["cases"] for split, facts in record["splits"].items()} == {
            "train": 129,
            "val": 5,
            "test": 50,
        }
        assert read_list(tmp_path / "dst" / "val.txt")[0] == "val/ISIC_0000000"
        assert (tmp_path / "dst" / "masks" / "val" / "ISIC_0000000.png").is_symlink()
        assert any(
            re.fullmatch(r"\d+ cases of train.txt are in the .* list of ISIC-2017 too", n) for n in record["notes"]
        )

    def test_training_images_of_isic2018_alone_may_be_split(self, tmp_path):
        source = by_folder(tmp_path / "src", {"Training": 129}, *self.ISIC)
        record = prepare_dataset("isic2018", source, tmp_path / "dst", link=True, hold_out={"test": 26})
        assert record["splits"]["train"]["cases"] == 103 and record["splits"]["test"]["origin"] == "ours"
        assert "no val images were found; there is no val.txt" in record["notes"]


class TestBrainMri:
    @pytest.fixture(autouse=True)
    def of_each_fortieth(self, monkeypatch):
        monkeypatch.setattr("condseg_monai.data.prepare.images._LGG_SLICES", 100)

    def make(self, root: Path, slices: int = 100) -> Path:
        """Twenty patients, of whose slices every second has no lesion."""
        for number in range(slices):
            patient = f"TCGA_CS_{4900 + number % 20}_19960909"
            mask = encoded("TIFF", MASK if number // 20 % 2 else MASK * 0)
            put(root / "kaggle_3m" / patient / f"{patient}_{number}.tif")
            put(root / "kaggle_3m" / patient / f"{patient}_{number}_mask.tif", mask)
        return root

    def test_patients_are_not_divided_and_slices_without_lesion_are_left_off(self, tmp_path):
        source = self.make(tmp_path / "src")
        record = prepare_dataset("lgg-mri", source, tmp_path / "dst")
        lists = {split: read_list(tmp_path / "dst" / f"{split}.txt") for split in ("train", "val", "test")}
        patients = {split: {name[:21] for name in names} for split, names in lists.items()}
        assert {split: len(names) for split, names in patients.items()} == {"train": 16, "val": 2, "test": 2}
        assert len(set().union(*patients.values())) == 20 and sum(map(len, lists.values())) == 40
        assert all(int(name[22:]) // 20 % 2 for names in lists.values() for name in names)
        assert record["notes"] == ["60 slices without a lesion are on no list; --allow_empty puts them there"]
        assert record["splits"]["train"]["origin"] == "ours"
        assert "16 of 20 patients in the order of the SHA-256 of '0 PATIENT'" in record["splits"]["train"]["source"]
        record = prepare_dataset("lgg-mri", source, tmp_path / "all", allow_empty=True)
        cases = {split: facts["cases"] for split, facts in record["splits"].items()}
        assert cases == {"train": 80, "val": 10, "test": 10}

    def test_all_damaged_masks_are_named(self, tmp_path):
        source = self.make(tmp_path / "src")
        damaged = sorted(source.rglob("*_mask.tif"))[:2]
        for path in damaged:
            path.write_bytes(b"cut short")
        with pytest.raises(DatasetError, match=r"2 file\(s\) cannot be prepared, nothing was written") as error:
            prepare_dataset("lgg-mri", source, tmp_path / "dst")
        assert all(str(path) in str(error.value) for path in damaged)

    def test_part_of_the_slices_is_refused(self, tmp_path):
        with pytest.raises(DatasetError, match="LGG has 100 cases, but there are 40 with or without _mask"):
            prepare_dataset("lgg-mri", self.make(tmp_path / "src", 40), tmp_path / "dst")


def test_counts_are_those_of_the_papers():
    counts = {name: {known.name: known.cases for known in layout.lists.values()} for name, layout in LAYOUTS.items()}
    polyps = {"train": 1450, "cvc_300": 60, "cvc_clinicdb": 62, "cvc_colondb": 380, "etis_laribpolypdb": 196}
    assert counts["pranet"] == {**polyps, "kvasir": 100}
    assert counts["isic2018"] == {"train": 2594, "val": 100, "test": 1000}


class TestDestination:
    @pytest.fixture
    def source(self, tmp_path) -> Path:
        ids = published_list("kvasir-seg", "train")[:3] + published_list("kvasir-seg", "val")[:2]
        return kvasir(tmp_path / "src", ids)

    def prepare(self, source, destination, **kwargs):
        return prepare_dataset("kvasir-seg", source, destination, allow_missing=True, **kwargs)

    def test_links_point_to_the_source(self, tmp_path, source):
        record = self.prepare(source, tmp_path / "dst", link=True)
        links = list((tmp_path / "dst" / "images").iterdir())
        assert len(links) == 5 and all(path.is_symlink() and path.read_bytes() == JPEG for path in links)
        assert all(path.readlink().is_absolute() for path in links) and record["files"] == "linked"

    def test_an_empty_folder_is_filled_and_a_used_one_is_kept(self, tmp_path, source):
        (tmp_path / "dst").mkdir()
        self.prepare(source, tmp_path / "dst")
        before = (tmp_path / "dst" / "dataset.json").stat().st_mtime_ns
        with pytest.raises(FileExistsError, match="is not empty"):
            self.prepare(source, tmp_path / "dst")
        assert (tmp_path / "dst" / "dataset.json").stat().st_mtime_ns == before

    def test_overwrite_replaces_what_prepare_made_and_nothing_else(self, tmp_path, source):
        self.prepare(source, tmp_path / "dst")
        (tmp_path / "dst" / "images" / "old.jpg").write_bytes(JPEG)
        self.prepare(source, tmp_path / "dst", overwrite=True)
        assert len(names_in(tmp_path / "dst" / "images")) == 5
        put(tmp_path / "mine" / "thesis.txt", b"years of work")
        with pytest.raises(FileExistsError, match="was not made by prepare"):
            self.prepare(source, tmp_path / "mine", overwrite=True)
        assert names_in(tmp_path) == ["dst", "mine", "src"] and names_in(tmp_path / "mine") == ["thesis.txt"]

    def test_a_folder_that_another_process_filled_meanwhile_is_kept(self, tmp_path):
        with pytest.raises(FileExistsError, match="filled by another process"), built_beside(tmp_path / "data") as new:
            (new / "train.txt").touch()
            (tmp_path / "data").mkdir()
            (tmp_path / "data" / "mine").touch()
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]

    def test_a_failure_keeps_the_earlier_folder(self, tmp_path, source, monkeypatch):
        self.prepare(source, tmp_path / "dst")

        def no_space(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("shutil.copyfile", no_space)
        with pytest.raises(OSError, match="No space left"):
            self.prepare(source, tmp_path / "dst", overwrite=True)
        assert names_in(tmp_path) == ["dst", "src"] and len(names_in(tmp_path / "dst" / "images")) == 5

    def test_source_and_destination_may_not_contain_each_other(self, tmp_path, source):
        for destination in (source, source / "ours", source.parent):
            with pytest.raises(ValueError, match="inside each other"):
                self.prepare(source, destination, overwrite=True)

    def test_unknown_data_set_raises(self, tmp_path, source):
        with pytest.raises(ValueError, match=r"dataset must be one of kvasir-seg, .* got 'cvc'"):
            prepare_dataset("cvc", source, tmp_path / "dst")

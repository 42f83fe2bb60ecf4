import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condseg_monai.cli.check import report_as_text
from condseg_monai.data.lists.dataset_report import DatasetReport, inspect_dataset

SIZE = (8, 4)


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Three training cases, two for validation and one for testing, without a fault."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        names = [f"{split}{i}" for i in range(count)]
        for name in names:
            write(tmp_path / "images" / f"{name}.png", picture(name))
            write(tmp_path / "masks" / f"{name}.png", mask())
        (tmp_path / f"{split}.txt").write_text("\n".join(names))
    return tmp_path


def picture(name: str) -> np.ndarray:
    return np.random.default_rng(list(name.encode())).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)


def mask(value: int = 255) -> np.ndarray:
    values = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    values[:, :2] = value
    return values


def write(path: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(path)


def texts(findings) -> str:
    return "\n".join(f"{finding.kind}: {finding.text}" for finding in findings)


def only_warning(report: DatasetReport, kind: str) -> str:
    assert not report.errors, texts(report.errors)
    assert [warning.kind for warning in report.warnings] == [kind], texts(report.warnings)
    return report.warnings[0].text


def test_a_sound_data_set_has_numbers_and_nothing_else(dataset):
    write(dataset / "masks" / "train0.png", np.zeros((4, 8), dtype=np.uint8))
    write(dataset / "masks" / "val1.png", mask(value=150))
    report = inspect_dataset(dataset)
    assert list(report.summaries) == ["train", "val", "test"]
    train, val = report.summaries["train"], report.summaries["val"]
    assert (train.cases, train.empty_masks, train.smallest, train.largest) == (3, 1, SIZE, SIZE)
    assert train.foreground == pytest.approx(2 / 3 * 0.25)
    assert (train.foreground_min, train.foreground_median, train.foreground_max) == (0, 0.25, 0.25)
    assert (train.neither, val.neither) == (0, 0.125)
    assert not report.errors and {warning.kind for warning in report.warnings} == {"empty mask", "mask values"}


def test_only_the_lists_asked_for_are_opened(dataset):
    (dataset / "images" / "test0.png").write_bytes(b"")
    assert not inspect_dataset(dataset, ("train", "val")).errors
    report = inspect_dataset(dataset)
    assert [error.kind for error in report.errors] == ["unreadable"]
    assert report.errors[0].files == (str(dataset / "images" / "test0.png"),)


def test_links_to_files_that_are_gone_are_errors(dataset):
    path = dataset / "images" / "train1.png"
    path.unlink()
    path.symlink_to(dataset / "gone.png")
    (error,) = inspect_dataset(dataset).errors
    assert error.kind == "unreadable" and "train1.png: no such file" in error.text


def test_files_that_belong_to_nothing_are_warned_of(dataset):
    write(dataset / "images" / "spare.png", picture("spare"))
    write(dataset / "masks" / "train0_Segmentation.png", mask())
    (dataset / "images" / "Thumbs.db").write_bytes(b"x")
    (dataset / "images" / ".DS_Store").write_bytes(b"x")
    report = inspect_dataset(dataset)
    assert not report.errors
    assert {warning.kind: [Path(name).name for name in warning.files] for warning in report.warnings} == {
        "unlisted": ["spare.png"],
        "orphan": ["train0_Segmentation.png"],
        "no image": ["Thumbs.db"],
    }


def test_same_picture_in_two_splits_is_an_error_and_in_one_a_warning(dataset):
    Image.open(dataset / "images" / "train0.png").save(dataset / "images" / "val0.png", compress_level=0)
    report = inspect_dataset(dataset)
    assert texts(report.errors) == (
        "overlap: train0.png (train) and val0.png (val) are the same picture; remove it from one of the lists"
    )
    write(dataset / "images" / "val0.png", picture("val1"))
    write(dataset / "masks" / "val0.png", mask()[:, ::-1])
    text = only_warning(inspect_dataset(dataset), "duplicate")
    assert text == "val0.png (val) and val1.png (val) are the same picture with different masks"


def test_a_picture_that_is_there_many_times_is_one_short_line(dataset):
    for name in [f"copy{i}" for i in range(30)]:
        write(dataset / "images" / f"{name}.png", picture("copy"))
        write(dataset / "masks" / f"{name}.png", mask())
    (dataset / "val.txt").write_text("\n".join(f"copy{i}" for i in range(30)))
    (duplicate,) = [warning for warning in inspect_dataset(dataset).warnings if warning.kind == "duplicate"]
    assert len(duplicate.files) == 30 and duplicate.text.endswith("copy3.png (val) and 26 more are the same picture")


def test_size_mismatch_names_both_files(dataset):
    write(dataset / "masks" / "val0.png", mask().T)
    (error,) = inspect_dataset(dataset).errors
    assert error.kind == "size" and "val0.png is 8x4 pixels" in error.text and error.text.endswith("val0.png 4x8")


class TestMaskValues:
    def write_masks(self, dataset, value):
        for path in (dataset / "masks").iterdir():
            write(path, mask(value))

    def test_0_and_1_want_another_threshold(self, dataset):
        self.write_masks(dataset, 1)
        (error,) = inspect_dataset(dataset).errors
        assert error.kind == "mask values" and "give --mask_threshold 0" in error.text
        report = inspect_dataset(dataset, mask_threshold=0)
        assert not report.errors and not report.warnings and report.summaries["val"].foreground == 0.25

    def test_one_mask_of_0_and_1_among_the_others(self, dataset):
        write(dataset / "masks" / "val0.png", mask(1))
        assert "1 case(s) have a mask without a value above" in only_warning(inspect_dataset(dataset), "empty mask")

    def test_instance_numbers_beyond_the_threshold(self, dataset):
        self.write_masks(dataset, 200)
        assert "6 case(s)" in only_warning(inspect_dataset(dataset), "mask values")
        assert inspect_dataset(dataset).summaries["train"].neither == 0.25

    def test_jpeg_noise_above_the_threshold(self, dataset):
        noisy = mask()
        noisy[:, -1] = 5
        write(dataset / "masks" / "val0.png", noisy)
        assert "JPEG noise is above" in only_warning(inspect_dataset(dataset, mask_threshold=0), "mask values")
        assert not inspect_dataset(dataset).warnings

    def test_colours_and_full_masks(self, dataset):
        red = np.zeros((4, 8, 3), dtype=np.uint8)
        red[..., 0] = 255
        write(dataset / "masks" / "val0.png", red)
        found = texts(inspect_dataset(dataset).warnings)
        assert "1 case(s) have a mask with colours" in found and "foreground everywhere: val0.png" in found

    def test_inverted_masks(self, dataset):
        inverted = np.full_like(mask(), 255)
        inverted[0, 0] = 0
        for path in (dataset / "masks").iterdir():
            write(path, inverted)
        assert only_warning(inspect_dataset(dataset), "mask values").endswith("above --mask_threshold 127: inverted?")


class TestClasses:
    CLASSES = {"background": 0, "lesion": 1, "tool": 2}  # noqa: RUF012

    @pytest.fixture
    def several(self, dataset):
        """Masks of background, lesion and tool; those of val without tool."""
        values = np.kron(np.array([[0, 1, 2, 0]], dtype=np.uint8), np.ones((4, 4), dtype=np.uint8))
        for path in (dataset / "masks").iterdir():
            write(path, np.where((values == 2) & path.name.startswith("val"), 0, values).astype(np.uint8))
            write(dataset / "images" / path.name, np.repeat(picture(path.stem), 2, axis=1))
        return dataset

    def test_pixels_and_masks_of_each_class_are_counted(self, several):
        report = inspect_dataset(several, classes=self.CLASSES)
        assert not report.errors and report.mask_threshold is None
        assert report.summaries["train"].classes == {"background": (3, 0.5), "lesion": (3, 0.25), "tool": (3, 0.25)}
        assert report.summaries["train"].foreground == 0.5
        assert texts(report.warnings) == "class: no mask of val has the class tool"

    def test_values_without_a_class_are_an_error_with_the_files(self, several):
        (error,) = inspect_dataset(several, classes={"background": 0, "lesion": 1}).errors
        assert error.kind == "mask values" and len(error.files) == 4
        assert "test0.png, train0.png" in error.text or "train0.png, train1.png" in error.text
        assert "values of no class: 2; class_values are 0, 1" in error.text

    def test_without_classes_or_a_threshold_they_are_an_error_with_the_remedy(self, several):
        (error,) = [error for error in inspect_dataset(several).errors if error.files]
        assert (
            "0, 1, 2: give the names of its classes as --class_names" in error.text and "--mask_threshold" in error.text
        )
        assert not inspect_dataset(several, mask_threshold=0).errors

    def test_table_has_a_line_per_class(self, several):
        lines = report_as_text(inspect_dataset(several, classes=self.CLASSES)).splitlines()
        assert lines[0].endswith("classes background 0, lesion 1, tool 2")
        assert ["val", "tool", "0", "0.00", "%"] in [line.split() for line in lines]
        report = json.loads(json.dumps(inspect_dataset(several, classes=self.CLASSES).as_dict()))
        assert report["splits"]["val"]["classes"]["lesion"] == {"masks": 2, "share": 0.25}


class TestListsOfTheRecord:
    @pytest.fixture
    def polyps(self, dataset):
        """Two test sets and no other list, as of a download of these alone."""
        for name in ("train", "val", "test"):
            (dataset / f"{name}.txt").unlink()
        (dataset / "cvc_300.txt").write_text("train0\ntrain1\n")
        (dataset / "kvasir.txt").write_text("train2\nval0\nval1\ntest0\n")
        record = {"splits": {"cvc_300": {}, "kvasir": {}, "gone": {}, "../cvc_300": {}}}
        (dataset / "dataset.json").write_text(json.dumps(record))
        return dataset

    def test_lists_that_prepare_made_are_checked(self, polyps):
        (polyps / "masks" / "val0.png").unlink()
        report = inspect_dataset(polyps)
        assert {name: summary.cases for name, summary in report.summaries.items()} == {"cvc_300": 2, "kvasir": 3}
        assert texts(report.errors) == "pair: kvasir.txt: val0: masks/ has no such file" and not report.warnings

    def test_a_picture_of_two_test_sets_is_a_warning_and_of_training_an_error(self, polyps):
        write(polyps / "images" / "test0.png", picture("train0"))
        report = inspect_dataset(polyps)
        assert "duplicate: train0.png (cvc_300) and test0.png (kvasir)" in texts(report.warnings) and not report.errors
        (polyps / "cvc_300.txt").rename(polyps / "train.txt")
        assert "overlap: train0.png (train) and test0.png (kvasir)" in texts(inspect_dataset(polyps).errors)

    @pytest.mark.parametrize("content", ["[]", "{", '{"splits": ["train"]}'])
    def test_the_record_of_another_program_says_nothing(self, dataset, content):
        (dataset / "dataset.json").write_text(content)
        report = inspect_dataset(dataset)
        assert [*report.summaries] == ["train", "val", "test"] and not report.errors


class TestWithoutLists:
    def test_all_of_images_is_checked(self, dataset):
        for path in dataset.glob("*.txt"):
            path.unlink()
        (dataset / "masks" / "val0.png").unlink()
        report = inspect_dataset(dataset)
        assert "list: there is no train.txt, val.txt or test.txt" in texts(report.errors)
        assert "pair: val0: masks/ has no such file" in texts(report.errors)
        assert report.summaries["images"].cases == 5 and not report.warnings

    def test_a_folder_of_something_else_is_told_the_layout(self, tmp_path):
        report = inspect_dataset(tmp_path)
        assert "images/ is missing, masks/ is missing; a data set is a folder with" in texts(report.errors)
        assert len(report.errors) == 1


def test_table_has_a_line_per_split_and_finding(dataset):
    write(dataset / "masks" / "val0.png", np.zeros((4, 8), dtype=np.uint8))
    (dataset / "images" / "test0.png").write_bytes(b"")
    lines = report_as_text(inspect_dataset(dataset)).splitlines()
    assert lines[2].split() == ["split", "cases", "empty", "foreground", "min", "median", "max", "neither", "sizes"]
    assert lines[3].split() == [
        "train",
        "3",
        "0",
        "25.00",
        "%",
        "25.00",
        "%",
        "25.00",
        "%",
        "25.00",
        "%",
        "0.00",
        "%",
        "8x4",
    ]
    assert lines[4].split()[:3] == ["val", "2", "1"]
    assert "1 error(s): 1 unreadable" in lines and "1 warning(s): 1 empty mask" in lines
    assert "  - 1 case(s) have an empty mask: val0.png" in lines


def test_report_is_json(dataset):
    write(dataset / "masks" / "val0.png", np.zeros((4, 8), dtype=np.uint8))
    report = json.loads(json.dumps(inspect_dataset(dataset).as_dict()))
    assert report["ok"] and report["splits"]["val"]["foreground"] == 0.125
    assert report["warnings"][0]["files"] == [str(dataset / "images" / "val0.png")]

import shutil
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condseg_monai.data.lists.datalist import check_datalist, content_hash, datalist_hash
from condseg_monai.data.lists.pairing import DatasetError


def write_pair(root: Path, image: str, mask: str, size=(6, 4), mask_size=None, mask_value=255):
    for folder in ("images", "masks"):
        (root / folder).mkdir(exist_ok=True)
    shade = zlib.crc32(image.encode()) % 256  # no two files have the same content
    Image.new("RGB", size, (shade, 90, 10)).save(root / "images" / image)
    Image.new("L", mask_size or size, mask_value).save(root / "masks" / mask)


def write_lists(root: Path, **lists: list[str]):
    for split, lines in lists.items():
        (root / f"{split}.txt").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Two training cases and one validation case, of mixed kinds."""
    write_pair(tmp_path, "b.JPG", "b.png")
    write_pair(tmp_path, "a 1.bmp", "a 1.TIF")
    write_pair(tmp_path, "c.v2.jpeg", "c.v2.bmp")
    write_lists(tmp_path, train=["b", "a 1.bmp"], val=["c.v2"])
    return tmp_path


def load(root, split, **kwargs):
    return check_datalist(root, (split,), **kwargs)[split]


def problems_of(root, splits=("train", "val"), **kwargs) -> str:
    with pytest.raises(DatasetError) as raised:
        check_datalist(root, splits, **kwargs)
    return str(raised.value)


class TestPairing:
    def test_cases_follow_the_list_whatever_their_extensions(self, dataset):
        assert load(dataset, "train") == [
            {"image": str(dataset / "images/b.JPG"), "label": str(dataset / "masks/b.png")},
            {"image": str(dataset / "images/a 1.bmp"), "label": str(dataset / "masks/a 1.TIF")},
        ]

    @pytest.mark.parametrize("line", ["b", "b.JPG", "b.jpg", "b.png", "  b  "])
    def test_line_may_be_a_stem_or_a_file_name(self, dataset, line):
        write_lists(dataset, train=[line])
        assert Path(load(dataset, "train")[0]["image"]).name == "b.JPG"

    def test_blank_lines_byte_order_mark_and_windows_line_ends_are_harmless(self, dataset):
        (dataset / "train.txt").write_bytes(b"\xef\xbb\xbfb\r\n\r\na 1\r\n")
        assert [Path(case["image"]).stem for case in load(dataset, "train")] == ["b", "a 1"]

    @pytest.mark.parametrize("in_list, on_disk", [("NFC", "NFD"), ("NFD", "NFC")])
    def test_accented_names_match_in_either_unicode_form(self, dataset, in_list, on_disk):
        name = "\u00e9tude \u4e2d"
        write_pair(
            dataset, unicodedata.normalize(on_disk, name) + ".png", unicodedata.normalize(on_disk, name) + ".png"
        )
        write_lists(dataset, train=[unicodedata.normalize(in_list, name)])
        assert len(load(dataset, "train")) == 1

    def test_test_list_is_optional_and_read_when_asked_for(self, dataset):
        assert set(check_datalist(dataset)) == {"train", "val"}
        with pytest.raises(DatasetError, match=r"test\.txt is missing"):
            load(dataset, "test")
        write_pair(dataset, "t.png", "t.png")
        write_lists(dataset, test=["t"])
        assert len(load(dataset, "test")) == 1

    def test_any_list_is_read_when_asked_for_and_what_it_names_is_on_a_list(self, dataset, caplog):
        write_pair(dataset, "t.png", "t.png")
        write_lists(dataset, etis=["t"])
        (dataset / "readme.txt").write_bytes(b"caf\xe9")
        assert [Path(case["image"]).name for case in load(dataset, "etis")] == ["t.png"]
        check_datalist(dataset)
        assert "on no list" not in caplog.text

    def test_unknown_list_is_an_error_that_names_those_there_are(self, dataset):
        with pytest.raises(DatasetError, match=r"valid\.txt is missing, there is train\.txt, val\.txt, condseg split"):
            load(dataset, "valid")

    @pytest.mark.parametrize("split", ["../val", "/val", "folds/0/val"])
    def test_a_list_elsewhere_is_refused(self, dataset, split):
        with pytest.raises(ValueError, match=r"split must be the name of a list in .*, without its \.txt, got"):
            load(dataset, split)


class TestSubFolders:
    @pytest.fixture
    def nested(self, tmp_path):
        for patient in ("p1", "p2"):
            for folder in ("images", "masks"):
                (tmp_path / folder / patient).mkdir(parents=True)
            write_pair(tmp_path, f"{patient}/x.jpg", f"{patient}/x.png")
        write_lists(tmp_path, train=["p1/x"], val=["p2\\x.jpg"])
        return tmp_path

    def test_same_stem_in_two_folders_is_two_cases_with_names(self, nested):
        cases = check_datalist(nested)
        assert cases["train"] == [
            {"image": str(nested / "images/p1/x.jpg"), "label": str(nested / "masks/p1/x.png"), "name": "p1/x"}
        ]
        assert cases["val"][0]["name"] == "p2/x"
        assert datalist_hash(cases["train"]) != datalist_hash(cases["val"])

    def test_a_linked_folder_is_one_of_them(self, nested):
        for folder in ("images", "masks"):
            (nested / folder / "p2").rename(nested / f"{folder}_p2")
            (nested / folder / "p2").symlink_to(nested / f"{folder}_p2")
        assert len(load(nested, "val")) == 1

    def test_the_folder_of_a_name_is_pointed_out(self, nested):
        write_lists(nested, train=["x"])
        assert "train.txt: x: images/ has no such file, but it has p1/x.jpg, p2/x.jpg" in problems_of(nested)

    def test_files_on_no_list_are_reported_however_deep(self, nested, caplog):
        write_pair(nested, "p1/spare.jpg", "p1/spare.png")
        (nested / "images/p2/notes.txt").write_text("x")
        check_datalist(nested)
        assert "1 file(s) in images/ on no list: spare.jpg" in caplog.text
        assert "1 file(s) in images/ or masks/ left out" in caplog.text and "notes.txt" in caplog.text


class TestChecks:
    def test_missing_folders_and_lists_are_all_named_with_the_layout(self, tmp_path):
        message = problems_of(tmp_path)
        for name in ("images/ is missing", "masks/ is missing", "train.txt is missing", "val.txt is missing"):
            assert name in message
        assert "each line of a list is the name of a file in images/" in message
        assert "has 1 problem(s)" in message  # the layout is no problem

    def test_missing_folder_is_said_to_be_missing_and_nothing_else(self, tmp_path):
        message = problems_of(tmp_path / "nowhere")
        assert message.endswith(f"\n  - {tmp_path / 'nowhere'} does not exist") and message.count("\n") == 1
        (tmp_path / "file").touch()
        assert problems_of(tmp_path / "file").endswith("file is not a folder")

    def test_one_error_lists_every_bad_case_of_every_split(self, dataset):
        write_pair(dataset, "no_mask.png", "other.png")
        write_pair(dataset, "size.png", "size.png", mask_size=(4, 6))
        write_pair(dataset, "twice.png", "twice.png")
        Image.new("RGB", (6, 4)).save(dataset / "images" / "twice.jpg")
        write_pair(dataset, "broken.png", "broken.png")
        broken = dataset / "masks" / "broken.png"
        broken.write_bytes(broken.read_bytes()[:40])
        write_lists(dataset, train=["b", "no_mask", "size", "twice", "b.jpg"], val=["c.v2", "broken", "ghost", "b"])
        message = problems_of(dataset)
        expected = [
            "train.txt: b: is there 2 times",
            "train.txt: no_mask: masks/ has no such file",
            f"{dataset / 'images' / 'size.png'} is 6x4 pixels",
            f"its mask {dataset / 'masks' / 'size.png'} 4x6",
            "train.txt: twice: images/ has twice.jpg and twice.png; keep one of them",
            f"cannot read {broken}",
            "val.txt: ghost: images/ has no such file",
            "val.txt: ghost: masks/ has no such file",
            "b: is in both train.txt and val.txt",
        ]
        for text in expected:
            assert text in message
        assert "has 8 problem(s)" in message and "fix them or take the cases off the lists" in message

    def test_a_mask_with_a_suffix_is_pointed_out(self, dataset):
        write_pair(dataset, "ISIC_1.jpg", "ISIC_1_Segmentation.png")
        write_lists(dataset, val=["ISIC_1"])
        assert "masks/ has no such file, but it has ISIC_1_Segmentation.png" in problems_of(dataset)

    def test_a_path_instead_of_a_name_is_pointed_out(self, dataset):
        write_lists(dataset, val=["images/c.v2.jpeg"])
        assert "a line is a name in images/, without images/ in front" in problems_of(dataset)

    def test_image_truncated_in_its_last_rows_is_found(self, dataset):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        path = dataset / "images" / "b.JPG"
        Image.fromarray(noise).save(path)
        Image.new("L", (64, 64)).save(dataset / "masks" / "b.png")
        load(dataset, "train")
        path.write_bytes(path.read_bytes()[:-200])
        assert str(path) in problems_of(dataset)

    def test_sizes_are_compared_after_exif_rotation(self, dataset):
        exif = Image.Exif()
        exif[274] = 6
        Image.new("RGB", (4, 6)).save(dataset / "images" / "b.JPG", exif=exif)
        load(dataset, "train")
        Image.new("RGB", (6, 4)).save(dataset / "images" / "b.JPG", exif=exif)
        assert "is 4x6 pixels (after EXIF rotation)" in problems_of(dataset)

    @pytest.mark.parametrize(
        "content, words", [(b"", "train.txt is empty"), (b"\xff\xfeb\x00", "cannot be read as UTF-8")]
    )
    def test_useless_list_is_reported(self, dataset, content, words):
        (dataset / "train.txt").write_bytes(content)
        assert words in problems_of(dataset)

    def test_overlap_with_a_list_that_is_not_in_use_is_reported(self, dataset):
        write_lists(dataset, test=["b"])
        assert "b: is in both train.txt and test.txt" in problems_of(dataset)
        assert len(load(dataset, "val")) == 1

    def test_masks_below_the_threshold_are_reported(self, dataset):
        for name in ("b.png", "a 1.TIF", "c.v2.bmp"):
            Image.new("L", (6, 4), 1).save(dataset / "masks" / name)
        assert "give --mask_threshold 0" in problems_of(dataset, mask_threshold=127)
        assert len(load(dataset, "train", mask_threshold=0)) == 2

    def test_picture_in_two_splits_under_two_names_is_reported(self, dataset):
        write_pair(dataset, "d.png", "d.png")
        Image.open(dataset / "images" / "d.png").save(dataset / "images" / "e.bmp")
        Image.new("L", (6, 4)).save(dataset / "masks" / "e.png")
        write_lists(dataset, train=["b", "d"], val=["c.v2", "e"])
        assert "d.png (train) and e.bmp (val) are the same picture with different masks" in problems_of(dataset)

    def test_warnings_are_logged_and_do_not_stop(self, dataset, caplog):
        Image.new("L", (6, 4), 0).save(dataset / "masks" / "b.png")
        write_pair(dataset, "spare.png", "spare.png")
        check_datalist(dataset)
        assert "1 case(s) have an empty mask: b.JPG" in caplog.text
        assert "1 file(s) in images/ on no list: spare.png" in caplog.text

    def test_without_check_only_names_are_paired(self, dataset):
        (dataset / "images" / "c.v2.jpeg").write_bytes(b"")
        assert check_datalist(dataset, check=False)["val"][0]["image"].endswith("c.v2.jpeg")
        (dataset / "images" / "c.v2.jpeg").unlink()
        with pytest.raises(DatasetError, match=r"val\.txt: c\.v2: images/ has no such file"):
            check_datalist(dataset, check=False)


class TestHash:
    def test_depends_on_names_and_order_alone(self):
        here = [{"image": "/one/a.png", "label": "/one/masks/a.png"}, {"image": "/one/b.png"}]
        there = [{"image": Path("other/images/a.jpg")}, {"image": Path("other/images/b.TIF")}]
        assert datalist_hash(here) == datalist_hash(there)
        assert datalist_hash(here) != datalist_hash(here[::-1])
        assert datalist_hash(here) != datalist_hash(here[:1])

    def test_is_the_sha256_of_the_stems(self):
        # printf 'a\nb' | sha256sum
        expected = "7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78"
        assert datalist_hash([{"image": "a.png"}, {"image": "b.png"}]) == expected

    def test_of_content_depends_on_the_files_and_not_on_their_folder(self, dataset, tmp_path_factory):
        moved = shutil.copytree(dataset, tmp_path_factory.mktemp("moved") / "data")
        here, there = (check_datalist(root)["train"] for root in (dataset, moved))
        before = content_hash(here)
        assert content_hash(there) == before != content_hash(here[::-1])
        Image.new("L", (6, 4), 128).save(moved / "masks" / "b.png")
        assert content_hash(there) != before

    def test_of_content_reads_a_volume_of_many_slices_once_and_not_to_its_end(self, tmp_path, monkeypatch):
        volume = tmp_path / "case.npy.h5"
        with volume.open("wb") as stream:
            stream.truncate(64 << 20)
        opened, real_open = [], Path.open
        monkeypatch.setattr(Path, "open", lambda path, *mode: opened.append(path) or real_open(path, *mode))
        slices = [{"image": str(volume), "label": str(volume), "slice": i} for i in range(3)]
        before = content_hash(slices)
        assert opened == [volume]
        with volume.open("ab") as stream:
            stream.write(b"more")
        assert content_hash(slices) != before

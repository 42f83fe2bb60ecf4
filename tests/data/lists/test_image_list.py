from pathlib import Path

import pytest
from PIL import Image

from condseg_monai.data.lists.image_list import list_images, list_other_files
from condseg_monai.data.lists.pairing import DatasetError


def write_images(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (4, 3)).save(folder / name)


def names_of(source: Path) -> list[str]:
    return [Path(case["image"]).name for case in list_images(source)]


def test_folder_gives_its_images_by_name(tmp_path):
    write_images(tmp_path, "b.PNG", "a 1.jpg", "c.v2.tif")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert names_of(tmp_path) == ["a 1.jpg", "b.PNG", "c.v2.tif"]
    assert list_images(tmp_path)[0] == {"image": str(tmp_path / "a 1.jpg")}


def test_what_a_folder_has_beside_images_is_listed_apart(tmp_path):
    write_images(tmp_path / "images", "a.JPG")
    for name in ("photo.heic", "no extension", ".hidden", "deep/photo.dng"):
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / name).write_bytes(b"x")
    (tmp_path / "train.txt").write_text("a\n")
    expected = [tmp_path / "images" / name for name in ("deep/photo.dng", "no extension", "photo.heic")]
    assert list_other_files(tmp_path / "images") == list_other_files(tmp_path) == expected
    assert list_other_files(tmp_path / "train.txt") == list_other_files(tmp_path / "nowhere") == []


def test_list_gives_paths_relative_to_itself_in_its_order(tmp_path):
    write_images(tmp_path / "sub", "b.png", "a.png")
    elsewhere = tmp_path / "elsewhere.png"
    write_images(tmp_path, "elsewhere.png")
    (tmp_path / "list.txt").write_text(f"sub/b.png\n\n{elsewhere}\nsub/a.png\nsub/b.png\n")
    assert names_of(tmp_path / "list.txt") == ["b.png", "elsewhere.png", "a.png"]


def test_list_of_a_data_set_may_hold_stems(tmp_path):
    write_images(tmp_path / "images", "a.JPG", "b.v2.png")
    (tmp_path / "test.txt").write_text("b.v2\na\n")
    assert names_of(tmp_path / "test.txt") == ["b.v2.png", "a.JPG"]


def test_listed_file_that_is_not_there_is_kept_for_the_report(tmp_path):
    (tmp_path / "list.txt").write_text("missing.png\n")
    assert list_images(tmp_path / "list.txt") == [{"image": str(tmp_path / "missing.png")}]


def test_images_of_a_list_in_several_folders_keep_their_places(tmp_path):
    write_images(tmp_path / "images" / "a", "x.png")
    write_images(tmp_path / "images" / "b", "x.png")
    (tmp_path / "test.txt").write_text("b/x\na/x.png\nghost\n")
    cases = list_images(tmp_path / "test.txt")
    assert [case.get("name") for case in cases] == ["b/x", "a/x", None]
    (tmp_path / "test.txt").write_text("b/x\n")
    assert "name" not in list_images(tmp_path / "test.txt")[0]


def test_images_below_others_keep_their_places(tmp_path):
    write_images(tmp_path, "x.png")
    write_images(tmp_path / "sub" / "deep", "x.png")
    assert [case["name"] for case in list_images(tmp_path)] == ["sub/deep/x", "x"]


def test_linked_folders_are_followed_and_circles_end(tmp_path):
    write_images(tmp_path / "elsewhere", "x.png")
    (tmp_path / "source" / "a").mkdir(parents=True)
    (tmp_path / "source" / "patient").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "source" / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "source" / "a" / "up").symlink_to(tmp_path / "source")
    assert [case["name"] for case in list_images(tmp_path / "source")] == ["again/x", "patient/x"]


def test_stem_with_two_files_is_not_guessed(tmp_path):
    write_images(tmp_path / "images", "a.jpg", "a.png")
    (tmp_path / "list.txt").write_text("a\n")
    assert list_images(tmp_path / "list.txt") == [{"image": str(tmp_path / "a")}]


@pytest.mark.parametrize(
    ("name", "words"), [("missing", "not a folder"), ("empty", "has no image"), ("scan.nii", "not a folder")]
)
def test_useless_source_raises(tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "scan.nii").write_bytes(b"x")
    with pytest.raises(DatasetError, match=words):
        list_images(tmp_path / name)

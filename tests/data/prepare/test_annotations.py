"""Masks of annotations: labelme's files and COCO's."""

import json

import numpy as np
import pytest
from PIL import Image

from condseg_monai.cli.commands import main
from condseg_monai.data.prepare.annotations import _coco_region


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source" / "day 1"
    folder.mkdir(parents=True)
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (12, 10), (200, 90, 80)).save(folder / name)
    return folder


def labelme(folder, name, *shapes):
    content = {"imagePath": name, "imageHeight": 10, "imageWidth": 12, "shapes": list(shapes)}
    (folder / f"{name}.json").write_text(json.dumps(content))


def shape(label, points, kind="polygon"):
    return {"label": label, "points": points, "shape_type": kind}


def coco(folder, *annotations, **changes):
    images = [{"id": i, "file_name": name, "height": 10, "width": 12} for i, name in enumerate(("a.png", "b.jpg"))]
    categories = [{"id": 5, "name": "polyp"}, {"id": 7, "name": "tool"}]
    content = {"images": images, "annotations": list(annotations), "categories": categories, **changes}
    (folder / "annotations.json").write_text(json.dumps(content))


def masks(folder):
    return {path.stem: np.asarray(Image.open(path)) for path in sorted((folder / "masks").iterdir())}


SQUARE = [[2, 1], [6, 1], [6, 5], [2, 5]]


def test_labelme_shapes_become_masks(source, tmp_path, capsys):
    labelme(source, "a.png", shape("polyp", SQUARE), shape("tool", [[8, 6], [10, 8]], "rectangle"))
    labelme(source, "b.jpg", shape("polyp", [[5, 5], [5, 7]], "circle"))
    assert main(["prepare", "labelme", str(source.parent), str(tmp_path / "out")]) == 0
    assert "2 images, 0 without a region; 2 polyp, 1 tool" in capsys.readouterr().out
    found = masks(tmp_path / "out")
    expected = np.zeros((10, 12), np.uint8)
    expected[1:6, 2:7] = expected[6:9, 8:11] = 255
    assert np.array_equal(found["a"], expected)
    assert 9 <= (found["b"] > 0).sum() <= 25 and found["b"][5, 5] == 255
    assert (tmp_path / "out" / "images" / "b.jpg").is_file()


def test_class_names_number_the_regions_and_later_ones_cover(source, tmp_path):
    labelme(source, "a.png", shape("polyp", SQUARE), shape("tool", [[4, 3], [10, 8]], "rectangle"))
    labelme(source, "b.jpg", shape("tool", SQUARE))
    names = ["--class_names", "background,polyp,tool"]
    assert main(["prepare", "labelme", str(source.parent), str(tmp_path / "out"), *names]) == 0
    found = masks(tmp_path / "out")
    assert sorted(np.unique(found["a"])) == [0, 1, 2] and found["a"][3, 4] == 2 and found["a"][1, 2] == 1
    assert sorted(np.unique(found["b"])) == [0, 2]


def test_coco_polygons_and_run_lengths_become_masks(source, tmp_path):
    pytest.importorskip("pycocotools")
    polygon = {"id": 1, "image_id": 0, "category_id": 5, "segmentation": [[2, 1, 6, 1, 6, 5, 2, 5]]}
    runs = {"id": 2, "image_id": 1, "category_id": 7, "segmentation": {"size": [10, 12], "counts": [20, 10, 90]}}
    coco(source, polygon, runs)
    assert main(["prepare", "coco", str(source.parent), str(tmp_path / "out")]) == 0
    found = masks(tmp_path / "out")
    assert (found["a"] > 0).sum() == 16 and found["a"][2, 3] == 255
    assert np.array_equal(np.flatnonzero(found["b"].any(axis=0)), [2])  # the third column, ten pixels


@pytest.mark.parametrize(
    ("shapes", "options", "words"),
    [
        ([shape("polyp", [[1, 1], [2, 2]])], [], "a shape cannot be drawn: a polygon of 2 points"),
        (
            [shape("polyp", [[1, 1], [2, float("nan")], [9, 9]])],
            [],
            "a shape cannot be drawn: points that are no numbers",
        ),
        ([shape("polyp", [[1, 1], [2, 1e30], [9, 9]])], [], "a shape cannot be drawn: points that are no numbers"),
        ([], [], "a.png has no region; --allow_empty makes an empty mask"),
        ([shape("stone", SQUARE)], ["--class_names", "background,polyp"], "is called 'stone', and class_names are"),
    ],
)
def test_annotation_that_cannot_be_used_is_named_and_nothing_is_written(
    source, tmp_path, capsys, shapes, options, words
):
    labelme(source, "a.png", *shapes)
    labelme(source, "b.jpg", shape("polyp", SQUARE))
    assert main(["prepare", "labelme", str(source.parent), str(tmp_path / "out"), *options]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ([[2, 1, 6, 1]], "a polygon of 2 points"),
        ([[2, 1, 6, float("nan"), 6, 5]], "points that are no numbers"),
        ([[2, 1, 6, 10**9, 6, 5]], "points that are no numbers, or far outside"),
        ([[2, 1, 6, 1, "x", 5]], "could not convert"),
        ({"size": [10**6, 10**6], "counts": [0, 10**12]}, "run lengths are of [1000000, 1000000] pixels"),
        ({"size": [10**6, 10**6], "counts": "PQR"}, "run lengths are of [1000000, 1000000] pixels"),
        ({"size": [10, 12], "counts": [20, 10]}, "run lengths are of 30 pixels, its image of [10, 12]"),
        ({"size": [10, 12], "counts": "d0:"}, "run lengths are of 30 pixels, its image of [10, 12]"),
        (None, "TypeError"),
    ],
    ids=str,
)
def test_coco_region_that_cannot_be_drawn_is_named(source, tmp_path, capsys, segmentation, words):
    pytest.importorskip("pycocotools")
    coco(source, {"id": 3, "image_id": 0, "category_id": 5, "segmentation": segmentation})
    assert main(["prepare", "coco", str(source.parent), str(tmp_path / "out"), "--allow_empty"]) == 1
    said = capsys.readouterr().err
    assert "annotations.json: annotation 3 of a.png cannot be drawn" in said and words in said


@pytest.mark.parametrize("seed", range(5))
def test_packed_run_lengths_are_read_as_pycocotools_packs_them(seed):
    coco_mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 60, 2).tolist())
    region = rng.random(size) < rng.random()
    counts = coco_mask.encode(np.asfortranarray(region.astype(np.uint8)))["counts"].decode()
    entry = {"segmentation": {"size": list(size), "counts": counts}}
    np.testing.assert_array_equal(_coco_region(coco_mask, entry, size), region)


def test_coco_region_of_an_image_that_is_not_listed_is_named(source, tmp_path, capsys):
    pytest.importorskip("pycocotools")
    coco(source, {"id": 3, "image_id": 9, "category_id": 5, "segmentation": [[2, 1, 6, 1, 6, 5]]})
    assert main(["prepare", "coco", str(source.parent), str(tmp_path / "out"), "--allow_empty"]) == 1
    assert "annotations of images that it does not list, image_id 9" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["labelme", "coco"])
def test_size_that_no_image_can_have_is_named(source, tmp_path, capsys, kind):
    if kind == "coco":
        pytest.importorskip("pycocotools")
        region = {"id": 3, "image_id": 0, "category_id": 5, "segmentation": [[2, 1, 6, 1, 6, 5]]}
        coco(source, region, images=[{"id": 0, "file_name": "a.png", "height": 10**6, "width": 10**6}])
    else:
        labelme(source, "a.png", shape("polyp", SQUARE))
        content = json.loads((source / "a.png.json").read_text())
        (source / "a.png.json").write_text(json.dumps({**content, "imageHeight": 10**6, "imageWidth": 10**6}))
    assert main(["prepare", kind, str(source.parent), str(tmp_path / "out")]) == 1
    assert "its image has 1000000 x 1000000 pixels" in capsys.readouterr().err


def test_images_without_a_region_are_empty_if_asked(source, tmp_path):
    labelme(source, "a.png")
    labelme(source, "b.jpg", shape("polyp", SQUARE))
    assert main(["prepare", "labelme", str(source.parent), str(tmp_path / "out"), "--allow_empty"]) == 0
    assert not masks(tmp_path / "out")["a"].any()


def test_images_without_an_annotation_are_left_out_and_named(source, tmp_path, capsys):
    labelme(source, "a.png", shape("polyp", SQUARE))
    assert main(["prepare", "labelme", str(source.parent), str(tmp_path / "out")]) == 0
    assert "left out 1 image(s) that no file annotates: b.jpg; dataset.json" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["left_out"] == [str(source / "b.jpg")]
    labelme(source, "b.jpg", shape("polyp", SQUARE))
    assert main(["prepare", "labelme", str(source.parent), str(tmp_path / "out"), "--overwrite"]) == 0
    assert "left out" not in capsys.readouterr().out


def test_missing_image_and_damaged_file_are_named(source, tmp_path, capsys):
    labelme(source, "gone.png", shape("polyp", SQUARE))
    (source / "broken.json").write_text("{")
    (source / "deep.json").write_text("[" * 100_000)
    assert main(["prepare", "labelme", str(source.parent), str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "gone.png does not exist" in said and "broken.json cannot be read as JSON" in said
    assert "deep.json cannot be read as JSON" in said

"""``condseg predict`` on DICOM pictures and clips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condseg_monai import Segmenter
from condseg_monai.cli.commands import main
from tests.bundle.models import save_model
from tests.ct import AFFINE, phantom, turned, write_dicom
from tests.dicom import VIDEO_ENDOSCOPY, write_picture

pydicom = pytest.importorskip("pydicom")

FRAMES = np.random.default_rng(0).integers(0, 256, (11, 20, 24, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("run"))


@pytest.fixture
def source(tmp_path) -> Path:
    """A clip of eleven frames, and a picture in a sub-folder without an extension."""
    write_picture(tmp_path / "in" / "clip.dcm", FRAMES, VIDEO_ENDOSCOPY)
    write_picture(tmp_path / "in" / "day 2" / "IM1", FRAMES[0])
    return tmp_path / "in"


def predict(model: Path, source: Path, out: Path, *options: str) -> int:
    words = ["predict", str(model), str(source), str(out), "--num_workers", "0", "--device", "cpu", *options]
    return main([*words, "--batch_size", "1"])


def masks_of(out: Path) -> dict[str, np.ndarray]:
    return {path.relative_to(out).as_posix(): np.asarray(Image.open(path)) for path in sorted(out.rglob("*.png"))}


def test_masks_are_those_of_the_same_pictures_as_png(model, source, tmp_path):
    pngs = tmp_path / "pngs"
    for number, frame in enumerate(FRAMES, 1):
        (pngs / "day 2").mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(pngs / f"clip_{number:02d}.png")
    Image.fromarray(FRAMES[0]).save(pngs / "day 2" / "IM1.png")
    assert predict(model, source, tmp_path / "out") == 0
    assert predict(model, pngs, tmp_path / "expected") == 0
    found, expected = masks_of(tmp_path / "out"), masks_of(tmp_path / "expected")
    assert [*found] == [*expected] and len(found) == 12
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, expected[name])


@pytest.mark.slow
def test_one_frame_is_segmented_as_in_the_whole_clip(model, source, tmp_path):
    assert predict(model, source, tmp_path / "out") == 0
    assert predict(model, Path(f"{source / 'clip.dcm'}#7"), tmp_path / "one") == 0
    (tmp_path / "list.txt").write_text("in/clip.dcm#11\nin/clip.dcm#7\nin/day 2/IM1\nin/clip.dcm#7\n")
    assert predict(model, tmp_path / "list.txt", tmp_path / "listed") == 0
    whole = masks_of(tmp_path / "out")
    for name, mask in (masks_of(tmp_path / "one") | masks_of(tmp_path / "listed")).items():
        np.testing.assert_array_equal(mask, whole[name])
    assert [*masks_of(tmp_path / "listed")] == ["clip_07.png", "clip_11.png", "day 2/IM1.png"]
    mask = Segmenter(model, device="cpu").predict(f"{source / 'clip.dcm'}#7").mask
    np.testing.assert_array_equal(mask * 255, whole["clip_07.png"])


def test_dicom_seg_has_the_pixels_of_the_mask_and_refers_to_its_frame(model, source, tmp_path):
    pytest.importorskip("highdicom")
    out = tmp_path / "out"
    assert predict(model, source, out, "--save_dicom_seg") == 0
    for name, mask in masks_of(out).items():
        found = pydicom.dcmread(out / "dicom_seg" / Path(name).with_suffix(".dcm"))
        np.testing.assert_array_equal(found.pixel_array.reshape(mask.shape) * 255, mask)
    assert pydicom.dcmread(out / "dicom_seg" / "clip_09.dcm").SourceImageSequence[0].ReferencedFrameNumber == 9
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")}
    (out / "dicom_seg" / "clip_03.dcm").unlink()
    assert predict(model, source, out, "--save_dicom_seg") == 0
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")}
    assert [path.stem for path in before if before[path] != after[path]] == ["clip_03"]


def test_dicom_seg_of_other_images_is_refused(model, source, tmp_path, capsys):
    Image.fromarray(FRAMES[0]).save(source / "photo.png")
    assert predict(model, source, tmp_path / "out", "--save_dicom_seg") == 1
    assert "save_dicom_seg needs DICOM pictures" in capsys.readouterr().err.splitlines()[-1]


def test_bad_files_are_listed_and_the_others_done(model, source, tmp_path, capsys):
    """A damaged file, a clip cut short, a slice of CT; a report without pixels is no failure."""
    (source / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\1" * 99)
    cut = source / "cut.dcm"
    cut.write_bytes((source / "clip.dcm").read_bytes()[: -3 * FRAMES[0].size + 8])
    (slice_, *_) = write_dicom(tmp_path / "ct", *turned(phantom()[0], AFFINE, "LPS"))
    slice_.rename(source / "slice")
    report = pydicom.dcmread(source / "day 2" / "IM1")
    del report.Rows, report.PixelData
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.save_as(source / "report.dcm")
    assert predict(model, source, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "5 of 25 cases have no mask" in said and "report.dcm" in said
    for words in (
        "bad.dcm: it is of no SOP class",
        "cut.dcm#9",
        "cut.dcm#11",
        "slice: it is CT Image, and no endoscopy",
    ):
        assert words in said.replace(f"{slice_.parent}", ""), said
    record = json.loads((tmp_path / "out" / "inference.json").read_text())
    assert len(record["segmented"]) == len(masks_of(tmp_path / "out")) == 20 and len(record["failed"]) == 5


def test_ct_series_is_no_set_of_pictures_nor_a_clip_a_series(model, source, tmp_path, capsys):
    write_dicom(tmp_path / "ct", *turned(phantom()[0], AFFINE, "LPS"))
    assert predict(model, tmp_path / "ct", tmp_path / "out") == 1
    assert "a model of CT reads the folder of a series" in capsys.readouterr().err
    names = ("background", "liver")
    ct = save_model(tmp_path / "model", kind="ct", class_names=names, window_hu=(-125, 275))
    assert main(["predict", str(ct), str(source / "day 2"), str(tmp_path / "labels"), "--device", "cpu"]) == 1
    assert "is of modality ES; the network is for CT" in capsys.readouterr().err


def test_folder_of_reports_alone_is_refused(model, tmp_path, capsys):
    path = write_picture(tmp_path / "in" / "report.dcm", FRAMES[0])
    report = pydicom.dcmread(path)
    del report.Rows, report.PixelData
    report.save_as(path)
    assert predict(model, tmp_path / "in", tmp_path / "out") == 1
    assert "have no pixels" in capsys.readouterr().err.splitlines()[-1]


def test_changed_clip_is_not_taken_for_the_earlier_one(model, source, tmp_path, capsys):
    assert predict(model, source, tmp_path / "out") == 0
    write_picture(source / "clip.dcm", FRAMES[::-1], VIDEO_ENDOSCOPY)
    assert predict(model, source, tmp_path / "out") == 1
    assert "was made of another file" in capsys.readouterr().err.splitlines()[-1]


def test_contours_are_written_beside_the_masks(model, source, tmp_path):
    assert predict(model, source, tmp_path / "out", "--save_contours") == 0
    for name, mask in masks_of(tmp_path / "out").items():
        content = json.loads((tmp_path / "out" / "contours" / Path(name).with_suffix(".geojson")).read_text())
        assert bool(content["features"]) == mask.any()

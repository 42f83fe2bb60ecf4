import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from condseg_monai.inference.cases import InferenceCases, InferenceError


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b c.JPG", "d.tif"):
        Image.new("RGB", (6, 4), (200, 90, 80)).save(folder / name)
    return folder


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    return path


def names(cases) -> list[str]:
    return [Path(case["image"]).name for case in cases]


def write_masks(folder: Path, *stems: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        Image.new("L", (6, 4)).save(folder / f"{stem}.png")


def test_all_readable_images_are_to_do(images, tmp_path, checkpoint):
    cases = InferenceCases(images, tmp_path / "out")
    assert names(cases.todo) == ["a.png", "b c.JPG", "d.tif"]
    cases.start(checkpoint)


def test_files_that_do_not_look_like_images_are_named(images, tmp_path, checkpoint, caplog):
    (images / "photo.heic").write_bytes(b"x")
    InferenceCases(images, tmp_path / "out").start(checkpoint)
    assert "1 file(s)" in caplog.text and "photo.heic" in caplog.text


def test_construction_looks_at_no_file(tmp_path):
    cases = InferenceCases(tmp_path / "nowhere", tmp_path / "out")
    assert cases.todo == [] and not (tmp_path / "out").exists()


def test_images_with_all_outputs_are_kept_unless_overwritten(images, tmp_path):
    out = tmp_path / "out"
    write_masks(out, "a", "b c")
    write_masks(out / "overlay", "a")
    assert names(InferenceCases(images, out).todo) == ["d.tif"]
    assert names(InferenceCases(images, out, save_overlay=True).todo) == ["b c.JPG", "d.tif"]
    assert len(InferenceCases(images, out, save_uncertainty="npy").todo) == 3
    assert len(InferenceCases(images, out, overwrite=True).todo) == 3


def test_bad_files_are_left_out_and_reported_at_the_end(images, tmp_path, checkpoint):
    (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "out"
    write_masks(out, "a")
    cases = InferenceCases(images, out)
    cases.start(checkpoint)
    assert names(cases.todo) == ["b c.JPG", "d.tif"]
    write_masks(out, "b c", "d")
    with pytest.raises(InferenceError, match=r"1 of 4 images have no mask") as raised:
        cases.finish()
    assert str(images / "broken.png") in str(raised.value)
    summary = json.loads((out / "inference.json").read_text())
    assert summary["kept"] == [str(images / "a.png")]
    assert summary["segmented"] == [str(images / "b c.JPG"), str(images / "d.tif")]
    assert list(summary["failed"]) == [str(images / "broken.png")]


def test_finish_is_silent_when_all_is_done(images, tmp_path):
    cases = InferenceCases(images, tmp_path / "out")
    assert len(cases.todo) == 3
    write_masks(tmp_path / "out", "a", "b c", "d")
    cases.finish()
    assert json.loads((tmp_path / "out" / "inference.json").read_text())["failed"] == {}


def test_an_output_that_was_never_written_is_a_failure(images, tmp_path):
    cases = InferenceCases(images, tmp_path / "out")
    assert len(cases.todo) == 3
    write_masks(tmp_path / "out", "a", "d")
    with pytest.raises(InferenceError, match=r"b c\.JPG: no output was written"):
        cases.finish()


def test_missing_checkpoint_stops_and_says_how_to_get_one(images, tmp_path):
    with pytest.raises(InferenceError, match=r"nope\.pt is missing: train it with .* convert .* or set ckpt_dir"):
        InferenceCases(images, tmp_path / "out").start(tmp_path / "nope.pt")


def test_images_of_one_stem_stop(images, tmp_path, checkpoint):
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(images / "a.bmp")
    cases = InferenceCases(images, tmp_path / "out")
    assert cases.todo == []
    with pytest.raises(InferenceError, match=r"would write the same mask") as raised:
        cases.start(checkpoint)
    assert f"{images / 'a.bmp'} and {images / 'a.png'}" in str(raised.value)


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_output_among_images_or_labels_stops(images, tmp_path, checkpoint, folder):
    with pytest.raises(InferenceError, match="holds the images or their labels"):
        InferenceCases(images, tmp_path / "images" / ".." / folder, overwrite=True).start(checkpoint)


def test_missing_source_stops(tmp_path, checkpoint):
    with pytest.raises(InferenceError, match="nowhere is not a folder"):
        InferenceCases(tmp_path / "nowhere", tmp_path / "out").start(checkpoint)


@pytest.mark.parametrize("name", ["save_probability", "save_uncertainty"])
def test_unknown_format_raises_at_construction(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} must be one of none, png, npy, got 'jpg'"):
        InferenceCases(tmp_path, tmp_path / "out", **{name: "jpg"})


def test_a_write_that_failed_is_reported_with_its_reason_even_over_an_old_mask(images, tmp_path, checkpoint):
    out = tmp_path / "out"
    write_masks(out, "a", "b c", "d")
    cases = InferenceCases(images, out, overwrite=True)
    cases.start(checkpoint)
    with pytest.raises(InferenceError, match=r"1 of 3 images have no mask:\n  - .*d\.tif: OSError: disk full"):
        cases.finish({str(out / "d.png"): "OSError: disk full"})
    assert [Path(path).name for path in json.loads((out / "inference.json").read_text())["segmented"]] == [
        "a.png",
        "b c.JPG",
    ]


def test_checkpoint_of_another_network_stops_before_any_work(images, tmp_path, checkpoint):
    cases = InferenceCases(images, tmp_path / "out")
    with pytest.raises(InferenceError, match=r"model\.pt is damaged"):
        cases.start(checkpoint, torch.nn.Linear(2, 2))
    torch.save(torch.nn.Linear(3, 2).state_dict(), checkpoint)
    cases.start(checkpoint, torch.nn.Linear(3, 2))
    with pytest.raises(InferenceError, match=r"model\.pt does not fit the network; encoder.*weight \(2, 3\)"):
        cases.start(checkpoint, torch.nn.Linear(2, 2))


def test_masks_of_other_weights_stop_the_run_unless_overwritten(images, tmp_path, checkpoint, caplog):
    out, other = tmp_path / "out", tmp_path / "other.pt"
    first = InferenceCases(images, out)
    first.start(checkpoint)
    write_masks(out, "a", "b c", "d")
    first.finish()
    other.write_bytes(checkpoint.read_bytes())
    with caplog.at_level("INFO"):
        InferenceCases(images, out).start(other)  # the same weights under another name
    assert "3 kept from earlier runs (--overwrite true makes them again)" in caplog.text

    other.write_bytes(b"other weights")
    with pytest.raises(InferenceError, match=r"another output_dir, or .* --overwrite true") as raised:
        InferenceCases(images, out).start(other)
    assert str(checkpoint) in str(raised.value) and str(other) in str(raised.value)
    InferenceCases(images, tmp_path / "elsewhere").start(other)
    again = InferenceCases(images, out, overwrite=True)
    again.start(other)
    again.finish()
    InferenceCases(images, out).start(other)
    assert json.loads((out / "inference.json").read_text())["checkpoint"] == str(other)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"checkpoint": null, "checkpoint_sha256": null}'])
def test_a_record_that_names_no_weights_keeps_the_masks(images, tmp_path, checkpoint, content):
    write_masks(tmp_path / "out", "a", "b c", "d")
    (tmp_path / "out" / "inference.json").write_text(content)
    InferenceCases(images, tmp_path / "out").start(checkpoint)

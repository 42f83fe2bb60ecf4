import json
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from condseg_monai.data.lists.pairing import Finding
from condseg_monai.inference.cases import RunError, image_cases, scored_cases, volume_cases
from condseg_monai.inference.required_checkpoint import RequiredCheckpoint


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b c.JPG", "d.tif"):
        Image.new("RGB", (6, 4), (200, 90, 80)).save(folder / name)
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "model.pt")
    return RequiredCheckpoint(tmp_path / "model.pt", nn.Linear(2, 2))


def names(cases) -> list[str]:
    return [Path(case["image"]).name for case in cases.todo]


def write_masks(folder: Path, *stems: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        (folder / f"{stem}.png").write_bytes(b"mask")


class TestImages:
    def test_construction_looks_at_no_file(self, tmp_path, checkpoint):
        cases = image_cases(tmp_path / "nowhere", tmp_path / "out", checkpoint)
        assert cases.todo == [] and not (tmp_path / "out").exists()
        with pytest.raises(RunError, match="nowhere is not a folder"):
            cases.start()

    def test_files_that_do_not_look_like_images_are_named(self, images, tmp_path, checkpoint, caplog):
        (images / "photo.heic").write_bytes(b"x")
        cases = image_cases(images, tmp_path / "out", checkpoint)
        cases.start()
        assert names(cases) == ["a.png", "b c.JPG", "d.tif"]
        assert "1 file(s)" in caplog.text and "photo.heic" in caplog.text

    def test_a_link_to_a_file_that_is_gone_is_a_case_that_failed(self, images, tmp_path, checkpoint):
        (images / "e.png").symlink_to(tmp_path / "gone.png")
        cases = image_cases(images, tmp_path / "out", checkpoint)
        cases.start()
        write_masks(tmp_path / "out", "a", "b c", "d")
        with pytest.raises(RunError, match=r"1 of 4 cases have no mask:\n.*e\.png cannot be used"):
            cases.finish()

    def test_cases_with_all_outputs_are_kept_unless_overwritten(self, images, tmp_path, checkpoint):
        out = tmp_path / "out"
        with image_cases(images, out, checkpoint, save_overlay=True).started():
            write_masks(out, "a", "b c", "d")
            write_masks(out / "overlay", "a", "b c", "d")
        (out / "d.png").unlink()
        (out / "overlay" / "b c.png").unlink()

        def todo(**options):
            cases = image_cases(images, out, checkpoint, **options)
            cases.start()
            with suppress(RunError):
                cases.finish()
            return names(cases)

        assert todo() == ["d.tif"]
        assert todo(save_overlay=True) == ["b c.JPG", "d.tif"]
        assert len(todo(save_uncertainty="npy")) == 3
        assert (out / "a.png").read_bytes() == b"mask"
        assert len(todo(overwrite=True)) == 3
        assert not (out / "a.png").exists()

    def test_failures_are_recorded_and_raised_at_the_end(self, images, tmp_path, checkpoint):
        """One was kept, one could not be read, one not written, one left no file."""
        Image.new("RGB", (6, 4)).save(images / "e.png")
        out = tmp_path / "out"
        with pytest.raises(RunError), image_cases(images, out, checkpoint).started():
            write_masks(out, "a")
        cases = image_cases(images, out, checkpoint)
        cases.start()
        assert names(cases) == ["b c.JPG", "d.tif", "e.png"]
        cases.fail(Finding("unreadable", "cannot read it", (str(images / "b c.JPG"),)))
        cases.fail(Finding("unreadable", "OSError: disk full", (str(images / "d.tif"),)))
        with pytest.raises(RunError, match=r"3 of 4 cases have no mask") as raised:
            cases.finish(note="more")
        for line in ("b c.JPG: cannot read it", "d.tif: OSError: disk full", "e.png: no output was written"):
            assert line in str(raised.value)
        record = json.loads((out / "inference.json").read_text())
        assert record["kept"] == [str(images / "a.png")] and record["segmented"] == []
        assert [Path(file).name for file in record["failed"]] == ["b c.JPG", "d.tif", "e.png"]
        assert record["checkpoint_sha256"] == checkpoint.sha256 and record["note"] == "more"

    def test_finish_is_silent_when_all_is_done(self, images, tmp_path, checkpoint):
        with image_cases(images, tmp_path / "out", checkpoint).started():
            write_masks(tmp_path / "out", "a", "b c", "d")
        record = json.loads((tmp_path / "out" / "inference.json").read_text())
        assert len(record["segmented"]) == 3 and record["failed"] == {}

    def test_what_cannot_work_stops_before_any_work(self, images, tmp_path, checkpoint):
        missing = RequiredCheckpoint(tmp_path / "nope.pt", nn.Linear(2, 2))
        with pytest.raises(RunError, match=r"nope\.pt is missing"):
            image_cases(images, tmp_path / "out", missing).start()
        for folder in ("images", "masks"):
            with pytest.raises(RunError, match="holds the images or labels"):
                image_cases(images, images / ".." / folder, checkpoint, overwrite=True).start()
        Image.new("L", (6, 4)).save(images / "a.bmp")
        cases = image_cases(images, tmp_path / "out", checkpoint)
        assert cases.todo == []
        with pytest.raises(RunError, match=r"would write the same mask.*\n.*a\.bmp and .*a\.png"):
            cases.start()

    @pytest.mark.parametrize("make", [image_cases, volume_cases])
    @pytest.mark.parametrize("name", ["save_probability", "save_uncertainty"])
    def test_unknown_format_raises_at_construction(self, tmp_path, checkpoint, make, name):
        with pytest.raises(ValueError, match=f"{name} must be one of none, .*, got 'jpg'"):
            make(tmp_path, tmp_path / "out", checkpoint, **{name: "jpg"})

    def test_grad_cam_of_several_classes_is_refused(self, tmp_path, checkpoint):
        checkpoint.card = SimpleNamespace(classes={"background": 0, "lesion": 1})
        with pytest.raises(ValueError, match="save_gradcam is of one class, and the model has background, lesion"):
            image_cases(tmp_path, tmp_path / "out", checkpoint, save_gradcam="png")

    def test_same_weights_under_another_name_keep_the_masks(self, images, tmp_path, checkpoint, caplog):
        with image_cases(images, tmp_path / "out", checkpoint).started():
            write_masks(tmp_path / "out", "a", "b c", "d")
        renamed = RequiredCheckpoint(shutil.copy(checkpoint.path, tmp_path / "renamed.pt"), nn.Linear(2, 2))
        with caplog.at_level("INFO"), image_cases(images, tmp_path / "out", renamed).started():
            pass
        assert "3 kept from earlier runs (--overwrite true makes them again)" in caplog.text

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (
                "weights",
                r"a\.png is there already and is of other weights, .*model\.pt, not of .*other\.pt; give another",
            ),
            ("settings", r"a\.png is there already and was made with precision float32 instead of bfloat16; give"),
            ("source", r"a\.png is there already and was made of another file, .*a\.png, not of .*a\.png as it is now"),
            ("record", r"a\.png is there already and inference\.json beside it does not say what it was made of"),
            ("old record", r"a\.png is there already and inference\.json beside it does not say what it was made of"),
        ],
    )
    @pytest.mark.parametrize("killed", [False, True])
    def test_masks_of_another_making_stop_the_run_unless_overwritten(
        self, images, tmp_path, checkpoint, change, words, killed
    ):
        out, now, settings = tmp_path / "out", checkpoint, {"precision": "float32"}
        first = image_cases(images, out, checkpoint, settings=settings)
        first.start()
        write_masks(out, "a", "b c", "d")
        if killed:  # the system takes the lock of a process that dies
            first._record.release()
        else:
            first.finish()
        if change == "weights":
            torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
            now = RequiredCheckpoint(tmp_path / "other.pt", nn.Linear(2, 2))
        elif change == "settings":
            settings = {"precision": "bfloat16"}
        elif change == "source":
            Image.new("RGB", (6, 4), (1, 2, 3)).save(images / "a.png")
        elif change == "record":
            (out / "inference.json").unlink()
        else:
            (out / "inference.json").write_text('{"checkpoint": "model.pt", "checkpoint_sha256": null}')
        with pytest.raises(RunError, match=words) as raised:
            image_cases(images, out, now, settings=settings).start()
        assert str(raised.value).endswith("--overwrite true")
        assert (out / "a.png").read_bytes() == b"mask"
        again = image_cases(images, out, now, settings=settings, overwrite=True)
        again.start()
        write_masks(out, "a", "b c")
        with pytest.raises(RunError, match="1 of 3 cases have no mask"):  # the old one of d is not taken for new
            again.finish()
        last = image_cases(images, out, now, settings=settings)
        last.start()
        assert names(last) == ["d.tif"]

    def test_mask_that_was_changed_since_is_refused(self, images, tmp_path, checkpoint):
        out = tmp_path / "out"
        with image_cases(images, out, checkpoint).started():
            write_masks(out, "a", "b c", "d")
        with image_cases(images, out, checkpoint).started():  # keeps the hashes
            pass
        record = json.loads((out / "inference.json").read_text())
        (out / "a.png").write_bytes(b"drawn by hand")
        with pytest.raises(RunError, match=r"a\.png is there already and was changed since it was written; give"):
            image_cases(images, out, checkpoint).start()
        for entry in record["files"].values():
            del entry["output_sha256"]
        (out / "inference.json").write_text(json.dumps(record))  # of an earlier version
        with image_cases(images, out, checkpoint).started():
            pass

    @pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"runs": 3, "files": {}}'], ids=len)
    def test_damaged_record_knows_no_mask(self, images, tmp_path, checkpoint, content):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "inference.json").write_text(content)
        write_masks(tmp_path / "out", "a")
        with pytest.raises(RunError, match=r"a\.png is there already and inference\.json beside it does not say what"):
            image_cases(images, tmp_path / "out", checkpoint).start()

    def test_record_that_cannot_be_written_is_no_case(self, images, tmp_path, checkpoint, monkeypatch):
        cases = image_cases(images, tmp_path / "out", checkpoint)
        cases.start()
        write_masks(tmp_path / "out", "a", "b c")

        def write(*_):
            raise OSError("no space")

        monkeypatch.setattr("condseg_monai.inference.output_record.write_json", write)
        with pytest.raises(RunError, match=r"inference\.json cannot be written: no space; 1 of 3 cases have no mask"):
            cases.finish()

    def test_folder_in_the_place_of_a_mask_stops_before_any_work(self, images, tmp_path, checkpoint):
        (tmp_path / "out" / "a.png").mkdir(parents=True)
        with pytest.raises(RunError, match=r"a\.png is a folder where a file would be written; move it away"):
            image_cases(images, tmp_path / "out", checkpoint).start()

    def test_other_images_may_go_into_the_same_folder(self, images, tmp_path, checkpoint):
        with image_cases(images, tmp_path / "out", checkpoint).started():
            write_masks(tmp_path / "out", "a", "b c", "d")
        Image.new("RGB", (6, 4)).save(tmp_path / "more.png")
        torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
        other = RequiredCheckpoint(tmp_path / "other.pt", nn.Linear(2, 2))
        with image_cases(tmp_path / "more.png", tmp_path / "out", other).started():
            write_masks(tmp_path / "out", "more")
        record = json.loads((tmp_path / "out" / "inference.json").read_text())
        assert {name: entry["run"] for name, entry in record["files"].items()} == {
            **dict.fromkeys(("a.png", "b c.png", "d.png"), 0),
            "more.png": 1,
        }
        assert [run["checkpoint_sha256"] for run in record["runs"]] == [checkpoint.sha256, other.sha256]

    def test_an_output_is_never_an_input(self, tmp_path, checkpoint):
        source = tmp_path / "out" / "probability"
        source.mkdir(parents=True)
        Image.new("RGB", (6, 4)).save(source / "a.png")
        for overwrite in (False, True):
            cases = image_cases(source, tmp_path / "out", checkpoint, save_probability="png", overwrite=overwrite)
            with pytest.raises(RunError, match=r"probability/a\.png is one of the inputs and would be overwritten"):
                cases.start()

    def test_outputs_of_earlier_runs_in_the_source_folder_are_no_inputs(self, images, tmp_path, checkpoint, caplog):
        source = tmp_path / "source"
        for day in ("a", "b"):
            shutil.copytree(images, source / day)
        out = source / "out"
        first = image_cases(source, out, checkpoint)
        first.start()
        for case in first.todo[:-1]:
            write_masks(first.path("mask", case).parent, first.path("mask", case).stem)
        with pytest.raises(RunError, match="1 of 6 cases have no mask"):
            first.finish()
        with caplog.at_level("INFO"):
            again = image_cases(source, out, checkpoint)
            again.start()
            assert names(again) == ["d.tif"] and len(again.kept) == 5
            elsewhere = image_cases(source, tmp_path / "elsewhere", checkpoint)
            assert len(elsewhere.todo) == 6
        assert f"5 output(s) of earlier runs in {source} left out" in caplog.text
        again._record.release()
        for day in ("a", "b"):
            shutil.rmtree(source / day)
        with pytest.raises(RunError, match="has nothing but outputs of earlier runs: "):
            image_cases(source, tmp_path / "elsewhere", checkpoint).start()
        image_cases(out, tmp_path / "elsewhere", checkpoint).start()  # asked for by name

    def test_a_second_run_in_the_folder_is_refused(self, images, tmp_path, checkpoint):
        first = image_cases(images, tmp_path / "out", checkpoint)
        first.start()
        with pytest.raises(RunError, match="another run is writing to output_dir"):
            image_cases(images, tmp_path / "out", checkpoint).start()
        with pytest.raises(RunError, match="no output was written"):
            first.finish()

    def test_run_that_ends_early_leaves_its_record(self, images, tmp_path, checkpoint):
        with (
            pytest.raises(MemoryError),
            image_cases(images, tmp_path / "out", checkpoint).started(),
        ):
            write_masks(tmp_path / "out", "a")
            raise MemoryError("no memory")
        record = json.loads((tmp_path / "out" / "inference.json").read_text())
        assert [Path(file).name for file in record["segmented"]] == ["a.png"]
        assert set(record["failed"].values()) == {"the run ended before: no memory"}

    @pytest.mark.parametrize(("number", "by"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
    def test_interrupted_run_says_how_to_continue_and_leaves_its_record(self, images, tmp_path, checkpoint, number, by):
        with (
            pytest.raises(KeyboardInterrupt, match=f"stopped by {by}: 1 of 3 cases have their mask; the same command"),
            image_cases(images, tmp_path / "out", checkpoint).started(),
        ):
            write_masks(tmp_path / "out", "a")
            signal.raise_signal(number)
        record = json.loads((tmp_path / "out" / "inference.json").read_text())
        assert [Path(file).name for file in record["segmented"]] == ["a.png"]
        assert set(record["failed"].values()) == {f"the run was stopped by {by} before"}

    def test_output_whose_name_would_be_too_long_costs_its_case_only(self, tmp_path, checkpoint):
        """A volume in folders has their names in its own, and .nii is shorter than .nii.gz."""
        for name in ("a.nii", f"{'b' * 251}.nii", f"{'c' * 150}/{'d' * 150}.nii"):
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name).write_bytes(b"volume")
        cases = volume_cases(tmp_path / "in", tmp_path / "out", checkpoint)
        cases.start()
        assert [case["name"] for case in cases.todo] == ["a"]
        (tmp_path / "out" / "a.nii.gz").write_bytes(b"label")
        with pytest.raises(RunError, match=r"2 of 3 cases have no label:\n.*name too long"):
            cases.finish()

    def test_source_that_disappears_costs_its_case_only(self, images, tmp_path, checkpoint):
        cases = image_cases(images, tmp_path / "out", checkpoint)
        assert len(cases.todo) == 3
        (images / "a.png").unlink()
        cases.start()
        write_masks(tmp_path / "out", "b c", "d")
        with pytest.raises(RunError, match=r"1 of 3 cases have no mask:\n.*a\.png cannot be used"):
            cases.finish()


class TestScoring:
    @pytest.fixture
    def dataset(self, tiny_dataset, tmp_path):
        return shutil.copytree(tiny_dataset, tmp_path / "data")

    def test_sound_cases_are_all_to_do(self, dataset, checkpoint):
        cases = scored_cases(dataset, "val", checkpoint)
        cases.start()
        assert names(cases) == ["val_0.png", "val_1.png", "val_2.png"]
        cases.finish()

    def test_case_without_a_mask_is_left_out_and_raised_at_the_end(self, dataset, checkpoint):
        (dataset / "masks" / "val_1.png").unlink()
        cases = scored_cases(dataset, "val", checkpoint)
        cases.start()
        assert names(cases) == ["val_0.png", "val_2.png"]
        with pytest.raises(RunError, match=r"1 of 3 cases have no score:\n.*val_1: masks/ has no such file"):
            cases.finish()

    def test_line_without_any_file_is_one_case(self, dataset, checkpoint):
        (dataset / "val.txt").write_text("val_0\nghost\n")
        cases = scored_cases(dataset, "val", checkpoint)
        cases.start()
        with pytest.raises(RunError, match=r"1 of 2 cases have no score:\n.*ghost: images/ .*; .*ghost: masks/ "):
            cases.finish()

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("val_0\nval_0\n", "is there 2 times"),
            ("val_0\ntrain_0\n", "is in both train.txt and val.txt"),
            ("", "val.txt is empty"),
            (None, "val.txt is missing"),
            ("nothing\n", "images/ has no such file"),
        ],
    )
    def test_what_makes_all_scores_worthless_stops(self, dataset, checkpoint, text, words):
        (dataset / "val.txt").unlink() if text is None else (dataset / "val.txt").write_text(text)
        with pytest.raises(RunError, match=words):
            scored_cases(dataset, "val", checkpoint).start()

    def test_masks_that_do_not_reach_the_threshold_stop(self, dataset, checkpoint):
        for path in (dataset / "masks").glob("val_*"):
            Image.fromarray(np.asarray(Image.open(path)) // 255).save(path)
        with pytest.raises(RunError, match="give --mask_threshold 0"):
            scored_cases(dataset, "val", checkpoint).start()
        scored_cases(dataset, "val", checkpoint, mask_threshold=0).start()

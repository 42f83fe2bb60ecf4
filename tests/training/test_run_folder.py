"""One run per folder."""

import multiprocessing
import re

import pytest

from condseg_monai.training.run_folder import RunFolder
from tests.runs import names


def folder_at(path, **options):
    return RunFolder({"ckpt_dir": path, **options}, "stage2", ["model.pt", "model_final.pt"])


@pytest.mark.parametrize("name", ["model.pt", "model_final.pt", "resume_stage2.state", "history_stage2.csv"])
def test_results_of_another_run_are_refused_with_both_remedies(tmp_path, name):
    (tmp_path / name).write_bytes(b"earlier")
    with pytest.raises(FileExistsError, match=re.escape(name) + ".*--resume true.*--overwrite true"):
        folder_at(tmp_path).check()
    with pytest.raises(FileExistsError), folder_at(tmp_path).claimed():
        pass
    assert (tmp_path / name).read_bytes() == b"earlier"


def test_record_of_a_run_that_saved_nothing_and_files_of_others_are_no_hindrance(tmp_path):
    for name in ("run_stage2.json", "stage1.pt", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    with folder_at(tmp_path).claimed():
        assert names(tmp_path) == ["notes.txt", "run_stage2.json", "stage1.pt"]


def test_overwrite_keeps_the_earlier_run_until_it_is_removed(tmp_path):
    files = ["model.json", "model.pt", "resume_stage2.state", "run_stage2.json", "stage1.pt"]
    for name in (*files, ".model.pt.abc123"):
        (tmp_path / name).write_bytes(b"earlier")
    folder = folder_at(tmp_path, overwrite=True)
    folder.check()
    with folder.claimed():
        assert names(tmp_path) == files
        folder.remove_earlier_files()
    assert names(tmp_path) == ["stage1.pt"]


def test_resume_keeps_the_files_and_removes_half_written_ones(tmp_path):
    for name in ("model.pt", "resume_stage2.state", ".resume_stage2.state.abc123", ".resume_stage2.state.d.json"):
        (tmp_path / name).write_bytes(b"earlier")
    with folder_at(tmp_path, resume=True, overwrite=True).claimed():
        assert names(tmp_path) == [".resume_stage2.state.d.json", "model.pt", "resume_stage2.state"]


def test_checkpoints_without_a_state_cannot_be_resumed(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"earlier")
    with pytest.raises(FileExistsError, match=r"model.pt is there, but no resume_stage2.state .*--overwrite true"):
        folder_at(tmp_path, resume=True).check()


def test_a_second_start_of_the_same_run_is_no_other_run(tmp_path):
    folder = folder_at(tmp_path)
    for _ in range(2):
        with folder.claimed():
            (tmp_path / "model.pt").write_bytes(b"mine")
    folder.check()
    assert names(tmp_path) == ["model.pt"]


def hold(path, holds, release):
    with folder_at(path).claimed():
        holds.set()
        release.wait(60)


def test_second_run_at_the_same_time_is_refused_until_the_first_one_ends_or_dies(tmp_path):
    context = multiprocessing.get_context("fork")
    holds, release = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, holds, release))
    process.start()
    assert holds.wait(120)
    with (
        pytest.raises(RuntimeError, match=r"another run is training in .* writes model.pt"),
        folder_at(tmp_path).claimed(),
    ):
        pass
    with RunFolder({"ckpt_dir": tmp_path}, "stage1", ["stage1.pt"]).claimed():
        pass
    process.kill()
    process.join()
    with folder_at(tmp_path).claimed():
        pass


def test_failed_run_releases_the_folder(tmp_path):
    with pytest.raises(KeyError), folder_at(tmp_path).claimed():
        raise KeyError
    with folder_at(tmp_path).claimed():
        pass

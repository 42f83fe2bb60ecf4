import json
import sys
from pathlib import Path

import pytest
import torch

from condseg_monai.utils.files import (
    atomic_write,
    file_sha256,
    keep_earlier,
    remove_unfinished,
    write_checkpoint,
    write_json,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="broke"), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("broke")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


def test_atomic_write_makes_the_folder_and_a_readable_file(tmp_path):
    with atomic_write(tmp_path / "new" / "table.csv") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "new" / "table.csv").read_text() == "whole"
    assert (tmp_path / "new" / "table.csv").stat().st_mode & 0o777 == 0o644


def test_json_holds_paths_as_text(tmp_path):
    write_json(tmp_path / "record.json", {"folder": Path("a/b"), "value": 1.5})
    assert json.loads((tmp_path / "record.json").read_text()) == {"folder": "a/b", "value": 1.5}


def test_keep_earlier_numbers_files_together(tmp_path):
    table, summary = tmp_path / "scores.csv", tmp_path / "summary.json"
    for path in (table, summary, tmp_path / "summary-1.json"):
        path.write_text(path.name)
    assert keep_earlier([table, summary]) == [tmp_path / "scores-2.csv", tmp_path / "summary-2.json"]
    assert (tmp_path / "scores-2.csv").read_text() == "scores.csv"
    assert table.exists()  # still there for whoever reads it until the new one replaces it
    assert (tmp_path / "summary-1.json").read_text() == "summary-1.json"


def test_kept_file_survives_the_replacement(tmp_path):
    target = tmp_path / "record.json"
    write_json(target, "first")
    keep_earlier([target])
    write_json(target, "second")
    assert json.loads((tmp_path / "record-1.json").read_text()) == "first"
    assert json.loads(target.read_text()) == "second"


def test_a_file_that_has_a_second_name_gets_no_third(tmp_path):
    target = tmp_path / "model.pt"
    target.write_bytes(b"weights")
    assert keep_earlier([target]) == [tmp_path / "model-1.pt"]
    assert keep_earlier([target]) == []


def test_keep_earlier_without_files_does_nothing(tmp_path):
    assert keep_earlier([tmp_path / "model.pt"]) == []
    assert names(tmp_path) == []


def test_keep_earlier_copies_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def refuse(self, target):
        raise PermissionError("no hard links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    target = tmp_path / "model.pt"
    target.write_bytes(b"weights")
    assert keep_earlier([target]) == [tmp_path / "model-1.pt"]
    assert (tmp_path / "model-1.pt").read_bytes() == b"weights"


def test_sha256_of_known_content(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX")
def test_checkpoint_that_finds_no_room_leaves_the_one_before(tmp_path):
    import resource

    target = tmp_path / "model.pt"
    write_checkpoint(target, {"weight": torch.ones(2)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))  # the system refuses what is longer
    try:
        with pytest.raises(OSError, match=r"model\.pt could not be written: .*; the one before it is whole and stays"):
            write_checkpoint(target, {"weight": torch.ones(1 << 20)})
        with pytest.raises(OSError, match="there is none before it"):
            write_checkpoint(tmp_path / "new.pt", {"weight": torch.ones(1 << 20)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.load(target, weights_only=True)["weight"].tolist() == [1, 1]
    assert names(tmp_path) == ["model.pt"]


def test_unfinished_writes_are_removed_and_nothing_else(tmp_path):
    for name in (".model.pt.x7_a", ".model.pt.more.pt", ".model.pt", "model.pt", ".other.pt.x7_a"):
        (tmp_path / name).write_bytes(b"")
    assert remove_unfinished(tmp_path / "model.pt") == [tmp_path / ".model.pt.x7_a"]
    assert len(names(tmp_path)) == 4

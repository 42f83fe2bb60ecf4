"""Atomic file writing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from condseg_monai.utils.files import (
    atomic_write,
    file_sha256,
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


def test_the_longest_names_can_be_written(tmp_path):
    for name in ("x" * 251 + ".png", "\u00e9" * 125 + ".json"):
        with atomic_write(tmp_path / name) as temporary:
            temporary.write_text("whole")
        assert (tmp_path / name).read_text() == "whole"
        with atomic_write(tmp_path / name) as temporary:
            temporary.write_text("half")
            killed = temporary.rename(temporary.with_name(temporary.name[:-1] + "X"))
            temporary.write_text("whole")
        assert remove_unfinished(tmp_path / name) == [killed]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("encoder error -2")])
def test_a_full_disk_is_named_with_the_file(tmp_path, error):
    words = r"a\.png cannot be written: (No space left|encoder error)"
    with pytest.raises(OSError, match=words) as raised, atomic_write(tmp_path / "a.png"):
        raise error
    assert raised.value.errno == error.errno and names(tmp_path) == []


def test_json_holds_paths_as_text(tmp_path):
    write_json(tmp_path / "record.json", {"folder": Path("a/b"), "value": 1.5})
    assert json.loads((tmp_path / "record.json").read_text()) == {"folder": "a/b", "value": 1.5}


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


INTERRUPT = """
import os, random, signal, sys, threading, time
import torch
from condseg_monai.utils.files import write_checkpoint

content = {f"w{i}": torch.zeros(200_000) for i in range(20)}
started = time.perf_counter()
write_checkpoint(sys.argv[1], content)
took = time.perf_counter() - started
for _ in range(30):
    timer = threading.Timer(random.random() * took, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        write_checkpoint(sys.argv[1], content)
        timer.join()
        time.sleep(0.1)
    except KeyboardInterrupt:
        pass
    torch.load(sys.argv[1], weights_only=True)
"""


@pytest.mark.slow
def test_ctrl_c_during_a_write_is_an_interruption_and_leaves_the_old_file(tmp_path):
    program = [sys.executable, "-c", INTERRUPT, str(tmp_path / "model.pt")]
    result = subprocess.run(program, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert names(tmp_path) == ["model.pt"]

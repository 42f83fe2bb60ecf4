"""Errors of checkpoints name the file and the reason."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from torch import nn

from condseg_monai.networks.state_dicts import name_keys, read_state_dict


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_state_dict_is_read_alone_and_under_model(network, tmp_path):
    weights = network.state_dict()
    for content in (weights, {"model": weights, "epoch": 3}):
        torch.save(content, tmp_path / "model.pt")
        assert read_state_dict(tmp_path / "model.pt", "checkpoint").keys() == weights.keys()


def test_damaged_files_are_named(network, tmp_path):
    path = tmp_path / "model.pt"
    torch.save(network.state_dict(), path)
    whole = path.read_bytes()
    for damaged in (b"", b"weights", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"stage1_checkpoint: .*model\.pt is damaged or no PyTorch file"):
            read_state_dict(path, "stage1_checkpoint")


class _Attack:
    def __reduce__(self):
        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    ("save", "words"),
    [
        (lambda path: torch.save({"a": torch.zeros(2), "b": _Attack()}, path), r"it holds (posix|nt)\.system, which"),
        (lambda path: path.write_bytes(pickle.dumps(_Attack())), "is not loaded, since it could run code"),
        (lambda path: torch.save(nn.Linear(1, 1), path), r"it holds torch\.nn\.modules\.linear\.Linear, which"),
    ],
)
def test_no_error_advises_to_load_what_may_run_code(save, words, tmp_path):
    save(tmp_path / "model.pt")
    with pytest.raises(ValueError, match=words) as raised:
        read_state_dict(tmp_path / "model.pt", "checkpoint")
    assert "weights_only" not in str(raised.value)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}])
def test_files_of_something_else_are_named(content, tmp_path):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt holds no state_dict but (list|dict)"):
        read_state_dict(tmp_path / "model.pt", "checkpoint")


def test_missing_file_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        read_state_dict(tmp_path / "nowhere.pt", "checkpoint")


def test_long_lists_of_keys_are_cut():
    assert name_keys("cab") == "[a, b, c]"
    assert name_keys("abcd", limit=2) == "[a, b, ... 2 more]"

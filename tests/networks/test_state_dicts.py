"""Errors of checkpoints name the file and the reason."""

from __future__ import annotations

import os
import pickle
import zipfile

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


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {1: torch.zeros(1)}])
def test_files_of_something_else_are_named(content, tmp_path):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt holds no state_dict but (list|dict)"):
        read_state_dict(tmp_path / "model.pt", "checkpoint")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.to_sparse(),
        lambda value: value.to("meta"),
        lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
        lambda value: value[:1, :1].expand(10**6, 10**8),  # 400 TB of one number
    ],
    ids=["sparse", "meta", "quantised", "expanded"],
)
def test_tensors_that_are_no_plain_numbers_are_named(tmp_path, change):
    torch.save({"a.weight": change(torch.ones(2, 2))}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt holds no plain numbers in a\.weight"):
        read_state_dict(tmp_path / "model.pt", "checkpoint")


def test_an_archive_that_unpacks_to_gigabytes_is_refused_by_a_stated_limit(tmp_path):
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "model.pt", "w", 8) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(ValueError, match=r"model\.pt .* unpacks to 40\d{4} bytes, more than 4 times its size"):
        read_state_dict(tmp_path / "model.pt", "checkpoint")
    assert read_state_dict(tmp_path / "plain.pt", "checkpoint")["a"].shape == (100_000,)


def test_missing_file_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        read_state_dict(tmp_path / "nowhere.pt", "checkpoint")


def test_long_lists_of_keys_are_cut():
    assert name_keys("cab") == "[a, b, c]"
    assert name_keys("abcd", limit=2) == "[a, b, ... 2 more]"

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from condseg_monai.data.lists.pairing import DatasetError
from condseg_monai.inference.evaluation_cases import EvaluationCases, EvaluationError


@pytest.fixture
def dataset(tiny_dataset, tmp_path):
    return shutil.copytree(tiny_dataset, tmp_path / "data")


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    return path


def stems(cases):
    return [case["image"].rpartition("/")[2] for case in cases.good]


def test_sound_cases_are_all_good(dataset, checkpoint):
    cases = EvaluationCases(dataset, "val")
    cases.start(checkpoint)
    assert stems(cases) == ["val_0.png", "val_1.png", "val_2.png"]
    assert cases.failed == []
    cases.finish()


def truncate(path):
    path.write_bytes(path.read_bytes()[:200])


def shrink(path):
    Image.fromarray(np.zeros((9, 9), dtype=np.uint8)).save(path)


@pytest.mark.parametrize(
    ("damage", "kind", "words"),
    [
        (lambda root: truncate(root / "images/val_1.png"), "unreadable", "images/val_1.png"),
        (lambda root: (root / "masks/val_1.png").write_bytes(b""), "unreadable", "masks/val_1.png"),
        (lambda root: shrink(root / "masks/val_1.png"), "size", "9x9"),
        (lambda root: (root / "masks/val_1.png").unlink(), "pair", "val_1: masks/ has no such file"),
    ],
)
def test_bad_case_is_left_out_named_and_raised_at_the_end(dataset, checkpoint, damage, kind, words, caplog):
    damage(dataset)
    cases = EvaluationCases(dataset, "val")
    cases.start(checkpoint)
    assert stems(cases) == ["val_0.png", "val_2.png"]
    assert "not scored: " in caplog.text and words in caplog.text
    (problem,) = cases.failed
    assert problem.kind == kind and words in problem.text
    assert problem.files and all("val_1.png" in file for file in problem.files)
    json.dumps([problem._asdict()])
    with pytest.raises(EvaluationError, match="2 cases of val were scored, others were not") as error:
        cases.finish()
    assert words in str(error.value)


def test_nothing_to_score_stops_and_names_every_case(dataset, checkpoint):
    for path in (dataset / "images").glob("val_*"):
        truncate(path)
    with pytest.raises(DatasetError, match="val of the data set") as error:
        EvaluationCases(dataset, "val").start(checkpoint)
    assert all(f"val_{number}.png" in str(error.value) for number in range(3))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: (root / "val.txt").write_text("val_0\nval_0\n"), "is there 2 times"),
        (lambda root: (root / "val.txt").write_text("val_0\ntrain_0\n"), "is in both train.txt and val.txt"),
        (lambda root: (root / "val.txt").write_text(""), "val.txt is empty"),
        (lambda root: (root / "val.txt").unlink(), "val.txt is missing"),
    ],
)
def test_what_makes_all_scores_worthless_stops(dataset, checkpoint, damage, words):
    damage(dataset)
    truncate(dataset / "images/val_1.png")  # does not hide it
    with pytest.raises(DatasetError, match=words):
        EvaluationCases(dataset, "val").start(checkpoint)


def test_masks_that_do_not_reach_the_threshold_stop(dataset, checkpoint):
    for path in (dataset / "masks").glob("val_*"):
        Image.fromarray(np.asarray(Image.open(path)) // 255).save(path)
    with pytest.raises(DatasetError, match="set mask_threshold to 0"):
        EvaluationCases(dataset, "val").start(checkpoint)
    EvaluationCases(dataset, "val", mask_threshold=0).start(checkpoint)


def test_missing_checkpoint_stops_before_files_are_opened(tmp_path):
    with pytest.raises(EvaluationError, match=r"missing\.pt is missing"):
        EvaluationCases(tmp_path / "nowhere", "val").start(tmp_path / "missing.pt")


def test_checkpoint_of_another_network_stops_before_any_work(dataset, checkpoint):
    cases = EvaluationCases(dataset, "val")
    with pytest.raises(EvaluationError, match=r"model\.pt is damaged"):
        cases.start(checkpoint, torch.nn.Linear(2, 2))
    torch.save(torch.nn.Linear(3, 2).state_dict(), checkpoint)
    cases.start(checkpoint, torch.nn.Linear(3, 2))
    with pytest.raises(EvaluationError, match=r"model\.pt does not fit the network; encoder.*weight \(2, 3\)"):
        cases.start(checkpoint, torch.nn.Linear(2, 2))

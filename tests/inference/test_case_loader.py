import io
import sys

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, EnsureChannelFirstd, Invertd, LoadImaged, Resized
from PIL import Image
from torch import nn

from condseg_monai.data.images.monai_readers import NaturalImageReader
from condseg_monai.inference.case_loader import CaseLoader, CasePostprocessing, predict_cases
from condseg_monai.inference.cases import RunError, image_cases
from condseg_monai.inference.required_checkpoint import RequiredCheckpoint


@pytest.fixture
def cases(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(5):
        Image.fromarray(np.full((4 + i, 6, 3), 40 * i, np.uint8)).save(tmp_path / "in" / f"{i}.png")
    torch.save(nn.Conv2d(3, 1, 1).state_dict(), tmp_path / "model.pt")
    return image_cases(tmp_path / "in", tmp_path / "out", RequiredCheckpoint(tmp_path / "model.pt", nn.Conv2d(3, 1, 1)))


PREPROCESSING = Compose(
    [
        LoadImaged("image", reader=NaturalImageReader()),
        EnsureChannelFirstd("image"),
        Resized("image", (8, 8)),
    ]
)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_files_that_cannot_be_read_are_left_out_and_noted(cases, tmp_path, num_workers):
    for i in (1, 2, 3):
        (tmp_path / "in" / f"{i}.png").write_bytes(b"broken")
    loader = CaseLoader(Dataset(cases.todo, PREPROCESSING), cases, 2, num_workers, progress=False)
    batches = [[case["image"].meta["filename_or_obj"][-5] for case in batch] for batch in loader]
    assert batches == [["0"], ["4"]]  # and no empty one of 2 and 3
    assert [finding.files for finding in cases.failed] == [(str(tmp_path / "in" / f"{i}.png"),) for i in (1, 2, 3)]
    assert all("cannot read" in finding.text for finding in cases.failed)


@pytest.mark.parametrize(("is_terminal", "progress"), [(True, True), (True, False), (False, True)])
def test_bar_is_shown_on_a_terminal_alone(cases, monkeypatch, is_terminal, progress):
    screen = io.StringIO()
    screen.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stderr", screen)
    assert len(list(CaseLoader(Dataset(cases.todo, PREPROCESSING), cases, 2, progress=progress))) == 3
    assert ("masks" in screen.getvalue()) == (is_terminal and progress)


def test_nothing_left_ends_the_run_with_the_reasons(cases, tmp_path):
    for path in (tmp_path / "in").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(RunError, match="5 of 5 cases have no mask"):
        list(CaseLoader(Dataset(cases.todo, PREPROCESSING), cases, 2, progress=False))


def test_whatever_a_case_raises_belongs_to_that_case(cases):
    def raise_for_one(data):
        if data["image"].meta["filename_or_obj"].endswith("1.png"):
            raise KeyError("odd")
        return data

    transforms = Compose([*PREPROCESSING.transforms, raise_for_one])
    read = [case for batch in CaseLoader(Dataset(cases.todo, transforms), cases, progress=False) for case in batch]
    assert len(read) == len(cases.todo) - 1
    (failed,) = cases.failed
    assert failed.files[0].endswith("1.png") and "KeyError: 'odd'" in failed.text


def test_post_processing_that_fails_costs_its_case_only(cases):
    def fail(data):
        if data["image"].meta["filename_or_obj"] == "b.png":
            raise OSError("b.mask cannot be written") from OSError("disk full")
        return {**data, "pred": 1}

    postprocess = CasePostprocessing(Compose([fail]), cases)
    results = [
        postprocess({"image": MetaTensor(torch.zeros(1), meta={"filename_or_obj": name})})
        for name in ("a.png", "b.png")
    ]
    assert results[0]["pred"] == 1 and "pred" not in results[1]
    assert [failed.text for failed in cases.failed] == ["b.png: OSError: b.mask cannot be written"]


def test_evaluator_predicts_each_case_and_inverts_to_its_size(cases):
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=CaseLoader(Dataset(cases.todo, PREPROCESSING), cases, 2, progress=False),
        network=nn.Identity(),
        iteration_update=predict_cases,
        decollate=False,
        inferer=lambda inputs, network: {"pred": inputs[:, :1], "half": inputs / 2},
        postprocessing=Invertd(["pred", "half"], PREPROCESSING, "image", nearest_interp=False),
    )
    seen = []
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.extend(engine.state.output))
    evaluator.run()
    for i, case in enumerate(seen):
        assert case["pred"].shape == (1, 4 + i, 6) and case["half"].shape == (3, 4 + i, 6)
        torch.testing.assert_close(case["pred"].as_tensor(), torch.full((1, 4 + i, 6), 40.0 * i))
        torch.testing.assert_close(case["half"].as_tensor(), torch.full((3, 4 + i, 6), 20.0 * i))
        assert case["pred"].meta["filename_or_obj"].endswith(f"{i}.png")
    assert len(seen) == 5

"""Each preset trains both stages, and changes what its table says."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from condseg_monai import ReleasedConDSegLoss, ReleasedConsistencyReinforcementLoss
from condseg_monai.cli.workflows import option_names

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def released(run_config, tiny_options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("released")
    folders = {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / "eval")}
    options = {key: value for key, value in tiny_options.items() if key != "batch_size"}
    return [
        run_config(stage, "preset_released", **options, **folders, batch_size=2)
        for stage in ("train_stage1", "train_stage2")
    ]


def test_released_preset_has_the_released_losses_and_rates(released):
    losses = [workflow.parser.get_parsed_content("loss") for workflow in released]
    assert isinstance(losses[0], ReleasedConsistencyReinforcementLoss)
    assert isinstance(losses[1], ReleasedConDSegLoss)
    assert all(len(loss.terms) > 0 for loss in losses)
    for workflow in released:
        assert {group["lr"] for group in workflow.trainer.optimizer.param_groups} == {1e-4}


def test_released_preset_augments_as_published(released):
    """Rotation and flips before resizing, borders reflected, in each stage its own; ten squares; no quarter turns."""
    for workflow, angle, share in zip(released, (math.pi / 2, math.radians(35)), (0.5, 0.3), strict=True):
        steps = workflow.parser.get_parsed_content("train#preprocessing").transforms
        kinds = [type(step).__name__ for step in steps]
        rotate, *flips, squares = steps[kinds.index("RandRotated") : kinds.index("Resized")]
        assert rotate.rand_rotate.range_x == pytest.approx((-angle, angle), abs=1e-4)
        assert [step.prob for step in (rotate, *flips)] == [share] * 3
        assert rotate.padding_mode == ("reflection", "reflection") and rotate.mode == ("bilinear", "bilinear")
        assert sorted(flip.flipper.spatial_axis for flip in flips) == [0, 1]
        dropper = squares.dropper
        assert (squares.prob, dropper.holes, dropper.max_holes, dropper.spatial_size) == (0.3, 10, None, 32)
        assert not {"RandRotate90d", "RandAffined", "RandColorJitterd"} & set(kinds)


def test_released_preset_passes_each_view_by_itself(released):
    assert [workflow.parser.get_parsed_content("train#inferer").passes for workflow in released] == [2, 1]


def test_released_preset_keeps_the_grey_of_masks_in_training_and_not_in_validation(released):
    for workflow in released:
        labels = [workflow.parser.get_parsed_content(f"{part}#dataset")[0]["label"] for part in ("train", "validate")]
        soft, hard = (label.unique() for label in labels)
        assert soft.numel() > 2 and soft.min() >= 0 and soft.max() <= 1
        assert torch.equal(hard, torch.tensor([0.0, 1.0]))


def test_released_preset_s_batches_are_those_of_its_stages(open_config, tiny_options):
    options = {key: value for key, value in tiny_options.items() if key != "batch_size"}
    sizes = [
        open_config(stage, "preset_released", **options).parser.get_parsed_content("batch_size")
        for stage in ("train_stage1", "train_stage2")
    ]
    assert sizes == [8, 12]


def test_docs_give_the_recommended_preset_s_values_and_a_reason_for_each():
    page = (REPOSITORY / "docs" / "reference" / "presets.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|(.*)\|(.*)\|(.*)\|(.*)\|(.*)\|$", page[page.index("## Presets") :], flags=re.MULTILINE)
    assert all(why.strip() for *_, why in rows)
    values = {
        name: value
        for names, _, _, recommended, _ in rows
        for name, value in zip(re.findall(r"`(\w+)`", names), recommended.split(","), strict=False)
    }
    preset = json.loads((REPOSITORY / "bundle" / "config_source" / "preset_recommended.json").read_text())
    assert {name: _option_value(values[name].strip(" `")) for name in preset} == preset


def _option_value(text):
    """The value that a cell of the table states."""
    words = {"yes": True, "no": False}
    return words[text] if text in words else float(text) if text[0].isdigit() else text


@pytest.mark.slow
def test_recommended_preset_trains_both_stages_and_averages_the_weights(run_config, tiny_options, tmp_path):
    folders = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    given = {"dataset_dir", "device", "encoder_weights", "image_size", "num_workers", "progress_bar", "epochs"}
    options = {key: value for key, value in tiny_options.items() if key in given}
    for stage in ("train_stage1", "train_stage2"):
        workflow = run_config(stage, "preset_recommended", **options, **folders, batch_size=2)
        assert type(workflow.trainer.optimizer) is torch.optim.AdamW
        assert workflow.network_def.encoder.name == "efficientnet_lite0"
    saved = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    average = workflow.parser.get_parsed_content("average").module.state_dict()
    assert all(torch.equal(value, average[key]) for key, value in saved.items())


def test_released_preset_refuses_what_it_does_not_use_and_takes_the_threshold_that_its_check_asks_for():
    names = option_names(("train_stage2", "preset_released"))
    assert not names & {"zoom", "color_jitter", "lambda_ce", "class_balance", "lambda_regions"}
    assert {"mask_threshold", "cdfa", "normalization"} <= names

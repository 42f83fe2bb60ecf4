"""The overlay for multi-organ CT, on a phantom."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from condseg_monai import DatasetError, ModelCard, class_names_of, synapse_class_names
from condseg_monai.data.prepare.synapse import prepare_synapse
from condseg_monai.data.synthetic.ct_phantom import make_synthetic_ct
from condseg_monai.utils.errors import root_cause

ORGANS = {f"val_dice_{name.replace(' ', '_')}" for name in synapse_class_names()[1:]}


@pytest.fixture(scope="module")
def ct_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every second slice of a phantom of eight for training, the others for validation."""
    folder = tmp_path_factory.mktemp("ct")
    scans = make_synthetic_ct(folder / "scans", num_cases=1, shape=(8, 32, 40))
    prepare_synapse(scans, folder / "data", source_labels="transunet", hold_out={"val": "odd"})
    return folder / "data"


@pytest.fixture(scope="module")
def both_stages(run_config, tiny_options, ct_dataset, tmp_path_factory):
    """Both stages, an epoch each: the folder of the run, the two workflows, and the files in the cache after each."""
    folder = tmp_path_factory.mktemp("synapse")
    options = {
        **tiny_options,
        "dataset_dir": str(ct_dataset),
        "ckpt_dir": str(folder / "models"),
        "output_dir": str(folder / "eval"),
        "decoder_channels": 4,
        "encoder_learning_rate": 1e-3,
    }
    cached, workflows = [], []
    for stage, optimizer in (("train_stage1", "sgd"), ("train_stage2", "adam")):
        workflows.append(run_config(stage, "synapse", **options, optimizer_name=optimizer))
        cached.append({path.name: path.stat().st_mtime_ns for path in (folder / "eval" / "slices").glob("*.pt")})
    return folder, workflows, cached


def test_checkpoints_of_both_stages_tell_their_classes(both_stages):
    folder, _, _ = both_stages
    for name in ("stage1.pt", "model.pt", "model_final.pt"):
        checkpoint = torch.load(folder / "models" / name, weights_only=True)
        assert class_names_of(checkpoint) == synapse_class_names("transunet")


def test_card_says_how_ct_is_read(both_stages):
    card = ModelCard.read(both_stages[0] / "models" / "model.json")
    assert (card.kind, card.window_hu, card.class_names) == ("ct", (-125.0, 275.0), synapse_class_names("transunet"))


def test_every_organ_is_scored(both_stages):
    for workflow in both_stages[1]:
        metrics = workflow.parser.get_parsed_content("validate#evaluator").state.metrics
        assert metrics.keys() >= {"val_mean_iou", "val_mean_dice", *ORGANS}


def test_encoder_is_slower_in_stage_2(open_config, ct_dataset):
    rates = [
        open_config(stage, "synapse", dataset_dir=str(ct_dataset)).parser.get_parsed_content("encoder_learning_rate")
        for stage in ("train_stage1", "train_stage2")
    ]
    assert rates == [0.01, 0.001]


def test_optimizer_and_schedule_are_those_of_the_options(both_stages):
    optimizers = [workflow.parser.get_parsed_content("optimizer") for workflow in both_stages[1]]
    assert isinstance(optimizers[0], torch.optim.SGD) and isinstance(optimizers[1], torch.optim.Adam)
    assert [group["initial_lr"] for group in optimizers[0].param_groups] == [1e-3, 1e-2]
    assert all(group["lr"] == 0 for group in optimizers[0].param_groups)  # decayed over its one epoch


def test_slices_are_cached_once_for_both_stages(both_stages):
    first, second = both_stages[2]
    assert len(first) == 8  # four for training, four for validation
    assert first == second


def test_batches_are_grey_in_three_channels_with_class_numbers(both_stages):
    for workflow in both_stages[1]:
        dataset = workflow.parser.get_parsed_content("train#dataset")
        item = dataset[1]
        assert item["image"].shape == (3, 32, 32) and item["label"].shape == (1, 32, 32)
        assert set(item["label"].unique().tolist()) <= set(range(9))
        loader = workflow.parser.get_parsed_content("train#dataloader")
        assert len(loader.sampler) == sum(case["has_organ"] for case in dataset.data)
    stage1 = both_stages[1][0].parser.get_parsed_content("validate#dataset")[1]["image"]
    assert stage1.shape == (3, 32, 32) and not torch.equal(stage1[0], stage1[1])  # grey, then ImageNet's deviations


def test_labels_in_another_order_are_refused(open_config, tiny_options, ct_dataset):
    options = {**tiny_options, "dataset_dir": str(ct_dataset), "organ_order": "samed", "stage1_checkpoint": None}
    workflow = open_config("train_stage2", "synapse", **options)
    with pytest.raises(RuntimeError) as raised:  # MONAI wraps what a config's component raises
        workflow.initialize()
        workflow.run()
    error = root_cause(raised.value)
    assert isinstance(error, DatasetError) and "the classes are background, aorta" in str(error)


def test_one_channel_trains_on_slices_as_they_are(open_config, tiny_options, ct_dataset, tmp_path):
    folders = {"dataset_dir": str(ct_dataset), "ckpt_dir": str(tmp_path), "output_dir": str(tmp_path / "eval")}
    workflow = open_config("train_stage1", "synapse", **{**tiny_options, **folders, "channels": 1})
    assert workflow.parser.get_parsed_content("network_def").in_channels == 1
    assert workflow.parser.get_parsed_content("train#dataset")[0]["image"].shape == (1, 32, 32)

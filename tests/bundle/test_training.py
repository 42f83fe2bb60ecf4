import json
import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Events
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from condseg_monai import ModelCard, network_of
from condseg_monai.data.images.normalization import normalize_image
from condseg_monai.data.lists.datalist import check_datalist, content_hash, datalist_hash
from condseg_monai.utils.files import file_sha256
from condseg_monai.version import __version__
from tests.runs import names, state, weights

METRICS = {"val_loss", "val_mean_iou", "val_mean_dice", "val_recall", "val_precision", "val_accuracy", "val_f2"}
STAGE_FILES = {
    "train_stage1": (
        *("stage1.pt", "stage1.json", "stage1_final.pt", "stage1_final.json"),
        *("run_stage1.json", "resume_stage1.state"),
    ),
    "train_stage2": (
        *("model.pt", "model.json", "model_final.pt", "model_final.json"),
        *("run_stage2.json", "resume_stage2.state"),
    ),
}


def events(folder):
    accumulator = EventAccumulator(str(folder / "run_1"), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def losses_of(workflow):
    losses = []
    workflow.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"].item())
    )
    workflow.run()
    return losses


@pytest.mark.parametrize("name", ["train", "train_stage1"])
def test_every_property_is_where_monai_looks_for_it(open_config, options, name):
    workflow = open_config(name, **options)
    workflow.initialize()
    assert workflow.check_properties() == []


def test_initializing_changes_no_checkpoint_and_needs_none(open_config, options, tmp_path):
    workflow = open_config("train", **{**options, "stage1_checkpoint": str(tmp_path / "missing.pt")})
    workflow.initialize()
    assert workflow.check_properties() == []
    assert not (tmp_path / "models").exists()


def test_both_stages_leave_best_last_and_record(trained):
    assert names(trained.ckpt_dir) == sorted(name for files in STAGE_FILES.values() for name in files)


@pytest.mark.parametrize("name", ["stage1", "stage1_final", "model", "model_final"])
def test_every_checkpoint_has_a_card_that_describes_it(trained, name):
    card = ModelCard.read(trained.ckpt_dir / f"{name}.json")
    assert card.weights == {"file": f"{name}.pt", "sha256": file_sha256(trained.ckpt_dir / f"{name}.pt")}
    assert (card.method, card.image_size, card.network["encoder"]) == (
        *("condseg_stage1" if "stage1" in name else "condseg", 32, "resnet18"),
    )
    best = card.training["best"]
    assert best["interval_95"][0] <= best["value"] <= best["interval_95"][1]
    assert (card.kind, card.normalization, card.threshold) == ("image", "imagenet", 0.5)
    train = card.training["splits"]["train"]
    assert train["count"] == 4 and all(re.fullmatch("[0-9a-f]{64}", train[key]) for key in ("sha256", "files_sha256"))
    assert (card.versions["torch"], card.versions["condseg_monai"]) == (torch.__version__, __version__)
    network_of(card).load_state_dict(state(trained.ckpt_dir / f"{name}.pt"))


def test_stage_2_starts_from_the_encoder_of_stage_1(open_config, options, trained):
    workflow = open_config("train_stage2", **{**options, "stage1_checkpoint": str(trained.ckpt_dir / "stage1.pt")})
    workflow.initialize()
    found = {}

    def compare(engine):
        found.update(weights(engine))
        engine.terminate()

    workflow.trainer.add_event_handler(Events.STARTED, compare)
    workflow.run()
    expected = {
        key: value for key, value in state(trained.ckpt_dir / "stage1.pt").items() if key.startswith("encoder.")
    }
    assert any(key.endswith("running_mean") for key in expected)
    assert {key for key in found if key.startswith("encoder.")} == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_stage_2_without_stage_1_stops_and_says_how_to_get_one(run_config, options, tmp_path):
    del options["stage1_checkpoint"]
    with pytest.raises(RuntimeError) as error:  # MONAI's, raised from ours
        run_config("train_stage2", **options)
    assert isinstance(error.value.__cause__, FileNotFoundError)
    assert "--config_file configs/train_stage1.json" in str(error.value.__cause__)
    assert not (tmp_path / "models").exists()


def test_bad_data_stops_before_training_and_lists_every_case(run_config, options, tmp_path):
    folder = tmp_path / "data"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    (folder / "train.txt").write_text("a\nb\n")
    (folder / "val.txt").write_text("c\n")
    Image.new("RGB", (40, 40)).save(folder / "images" / "a.png")
    with pytest.raises(RuntimeError) as error:
        run_config("train", **{**options, "dataset_dir": str(folder)})
    message = str(error.value.__cause__)
    assert all(stem in message for stem in ("a", "b", "c"))


def test_record_holds_options_splits_and_result(trained, tiny_dataset):
    record = json.loads((trained.ckpt_dir / "run_stage2.json").read_text())
    assert record["options"]["image_size"] == 32  # an override
    assert record["options"]["learning_rate"] == 1e-4  # a default
    assert record["options"]["device"] == "cpu"
    assert record["options"]["stage1_checkpoint"] == str(trained.ckpt_dir / "stage1.pt")
    for name, split, count in (("train", "train", 4), ("validation", "val", 3)):
        cases = check_datalist(tiny_dataset, (split,))[split]
        expected = {"count": count, "sha256": datalist_hash(cases), "files_sha256": content_hash(cases)}
        assert record["splits"][name] == expected
    assert record["starts_from"]["sha256"] == file_sha256(trained.ckpt_dir / "stage1.pt")
    assert record["environment"]["packages"]["monai"]
    assert record["result"]["iterations"] == 2
    assert record["best"]["metric"] == "val_mean_iou"
    assert record["result"]["last"].keys() == METRICS
    for name in ("model.pt", "model_final.pt"):
        assert record["checkpoints"][name] == file_sha256(trained.ckpt_dir / name)


@pytest.mark.parametrize(
    ("stage", "scalars", "picture"),
    [
        (
            "stage1",
            {"loss/mask_clean", "loss/mask_augmented", "loss/consistency", "learning_rate/head"},
            "validation/image | augmented view | label | prediction",
        ),
        (
            "stage2",
            {
                "loss/mask",
                "loss/foreground",
                "loss/background",
                "loss/complementary",
                "loss/foreground_weight",
                "loss/background_weight",
                "learning_rate/decoder",
            },
            "validation/image | label | prediction | foreground | background | uncertainty",
        ),
    ],
)
def test_tensorboard_has_every_term_rate_metric_and_picture(trained, stage, scalars, picture):
    written = events(trained.output_dir / "tensorboard" / stage)
    assert set(written.Tags()["scalars"]) == scalars | METRICS | {"loss/total", "learning_rate/encoder"}
    assert written.Tags()["images"] == [picture]
    assert [event.step for event in written.Scalars("loss/total")] == [1, 2]
    assert all(np.isfinite(event.value) for tag in scalars for event in written.Scalars(tag))


def test_stage_2_trains_its_encoder_ten_times_slower(trained):
    written = events(trained.output_dir / "tensorboard" / "stage2")
    rates = {name: written.Scalars(f"learning_rate/{name}")[0].value for name in ("encoder", "decoder")}
    assert rates == pytest.approx({"encoder": 1e-5, "decoder": 1e-4})


def test_optimizer_has_each_parameter_once(open_config, options):
    workflow = open_config("train_stage2", **options)
    workflow.initialize()
    network, optimizer = workflow.network_def, workflow.trainer.optimizer
    encoder, rest = (group["params"] for group in optimizer.param_groups)
    assert {id(p) for p in encoder} == {id(p) for p in network.encoder.parameters()}
    assert len(encoder) + len(rest) == len(list(network.parameters()))
    assert {id(p) for p in encoder + rest} == {id(p) for p in network.parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["train_stage1", "train_stage2"])
def test_same_seed_gives_the_same_network_and_losses(open_config, options, tmp_path, stage):
    losses, states = [], []
    for run, seed in enumerate((4, 4, 5)):
        folders = {"ckpt_dir": str(tmp_path / f"models{run}"), "output_dir": str(tmp_path / f"eval{run}")}
        workflow = open_config(stage, **{**options, **folders, "seed": seed})
        workflow.initialize()
        states.append({key: value.clone() for key, value in workflow.network_def.state_dict().items()})
        losses.append(losses_of(workflow))
    assert losses[0] == losses[1] != losses[2]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert any(not torch.equal(value, states[2][key]) for key, value in states[0].items())


def test_early_stop_ends_the_run_with_all_its_files(run_config, options, tmp_path):
    constant = {
        "_target_": "ignite.metrics.EpochMetric",
        "compute_fn": "$lambda pred, label: 0.5",
        "output_transform": "$lambda output: (torch.zeros(1), torch.zeros(1))",
    }
    options |= {"epochs": 9, "early_stop_patience": 2, "validate#additional_metrics": {}}
    options["validate#key_metric"] = {"val_mean_iou": constant}
    run_config("train_stage1", **options)
    assert names(tmp_path / "models") == sorted(STAGE_FILES["train_stage1"])
    record = json.loads((tmp_path / "models" / "run_stage1.json").read_text())
    assert (record["result"]["epochs"], record["result"]["max_epochs"]) == (3, 9)
    assert "stage1_final.pt" in record["checkpoints"]


@pytest.mark.slow
def test_cosine_schedule_ends_at_zero(run_config, options, tmp_path):
    run_config("train_stage2", **{**options, "epochs": 4, "lr_schedule": "cosine"})
    written = events(tmp_path / "eval" / "tensorboard" / "stage2")
    rates = [event.value for event in written.Scalars("learning_rate/decoder")]
    expected = [0.5] + [0.5 * (1 + math.cos(math.pi * i / 7)) for i in range(7)]
    assert rates == pytest.approx([1e-4 * factor for factor in expected])


def test_patience_counts_epochs_whatever_the_validation_interval(open_config, options):
    workflow = open_config("train", **{**options, "epochs": 9}, val_interval=5)
    workflow.initialize()
    assert workflow.parser.get_parsed_content("train::handlers::2").patience == 100
    assert workflow.parser.get_parsed_content("lr_scheduler").patience == 6


@pytest.mark.parametrize("normalization", ["imagenet", "released"])
def test_validation_image_is_the_file_upright_resized_and_normalised(open_config, options, tiny_dataset, normalization):
    workflow = open_config("train", **options, normalization=normalization)
    workflow.initialize()
    case = workflow.val_dataset[1]
    with Image.open(tiny_dataset / "images" / "val_1.png") as file:
        image = torch.from_numpy(np.array(file)).permute(2, 0, 1).float() / 255  # (3, 40, 36)
    resized = torch.nn.functional.interpolate(image[None], (32, 32), mode="bilinear")[0]
    torch.testing.assert_close(case["image"].as_tensor(), normalize_image(resized, normalization), rtol=0, atol=1e-4)
    with Image.open(tiny_dataset / "masks" / "val_1.png") as file:
        mask = torch.from_numpy(np.array(file))[None, None].float() / 255
    expected = torch.nn.functional.interpolate(mask, (32, 32), mode="nearest-exact")[0]
    assert torch.equal(case["label"].as_tensor(), expected)


@pytest.mark.parametrize("stage", ["train_stage1", "train_stage2"])
def test_training_batch_is_what_the_network_takes(open_config, options, stage):
    workflow = open_config(stage, **options)
    workflow.initialize()
    batch = next(iter(workflow.trainer.data_loader))
    assert type(batch["image"]) is torch.Tensor
    assert set(batch["label"].unique().tolist()) == {0.0, 1.0}
    views, label = workflow.trainer.prepare_batch(batch, "cpu")
    assert label.shape == (2, 1, 32, 32)
    assert views.shape == ((4 if stage == "train_stage1" else 2), 3, 32, 32)
    assert views.min() < -0.5  # ImageNet's mean is off
    assert {Path(file).parent.name for file in batch["image_file"]} == {"images"}


@pytest.mark.parametrize("stage", ["train_stage1", pytest.param("train_stage2", marks=pytest.mark.slow)])
def test_non_finite_loss_stops_with_the_files_and_the_terms(open_config, options, tmp_path, stage):
    workflow = open_config(stage, **{**options, "epochs": 3})
    workflow.initialize()
    spoil_batch(workflow, iteration=4)
    with pytest.raises(RuntimeError) as error:
        workflow.run()
    message = str(error.value.__cause__)
    assert "in epoch 2, iteration 4: loss nan, mask" in message
    assert message.count("images/train_") == 2
    best, _, final, _, _, resume = STAGE_FILES[stage]
    assert final not in names(tmp_path / "models")
    for name in (best, resume):
        saved = state(tmp_path / "models" / name)
        weights = saved.get("network", saved)
        assert all(value.isfinite().all() for value in weights.values())
    assert state(tmp_path / "models" / resume)["epoch"] == 1


def spoil_batch(workflow, iteration):
    """Make one batch's images NaN."""

    def spoil(engine):
        if engine.state.iteration == iteration:
            engine.state.batch["image"].fill_(float("nan"))

    workflow.trainer.add_event_handler(Events.ITERATION_STARTED, spoil)


def test_cache_of_none_gives_the_same_batches(open_config, options):
    items = []
    for cache in (0.0, 1.0):
        workflow = open_config("train", **options, cache=cache)
        workflow.initialize()
        items.append(workflow.val_dataset[0]["image"])
    assert torch.equal(items[0], items[1])


@pytest.mark.slow
def test_released_forms_are_trained_and_recorded(run_config, options, tmp_path):
    changed = {"cdfa": "released", "normalization": "released", "cdfa_window": 1, "decoders": 1}
    run_config("train_stage2", **options, **changed)
    record = json.loads((tmp_path / "models" / "run_stage2.json").read_text())
    assert changed.items() <= record["options"].items()
    card = json.loads((tmp_path / "models" / "model.json").read_text())["network"]
    assert (card["cdfa"], card["cdfa_window"], card["decoders"]) == ("released", 1, 1)
    for name, before in (("cdfa_window", 3), ("decoders", 3)):
        with pytest.raises(RuntimeError) as error:
            run_config("train_stage2", **options, **{**changed, name: before}, resume=True)
        assert f"{name} was 1, now is 3" in str(error.value.__cause__)


def test_encoder_weights_file_starts_stage_1(open_config, options, tmp_path):
    torch.manual_seed(9)
    first = open_config("train_stage1", **options)
    first.initialize()
    weights = {key: torch.full_like(value, 0.25) for key, value in first.network_def.encoder.state_dict().items()}
    torch.save(weights, tmp_path / "weights.pth")
    workflow = open_config("train_stage1", **{**options, "encoder_weights": str(tmp_path / "weights.pth")})
    workflow.initialize()
    seen = {}

    def look(engine):
        seen.update({key: value.clone() for key, value in engine.network.encoder.state_dict().items()})
        engine.terminate()

    workflow.trainer.add_event_handler(Events.STARTED, look)
    workflow.run()
    assert all(torch.equal(value, weights[key]) for key, value in seen.items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("stage", ["train_stage1", "train_stage2"])
def test_mixed_precision_run_on_a_gpu(open_config, options, stage, caplog):
    logging.getLogger().setLevel(logging.INFO)
    workflow = open_config(stage, **{**options, "device": "cuda", "epochs": 3, "num_workers": 2})
    workflow.initialize()
    assert all(np.isfinite(losses_of(workflow)))

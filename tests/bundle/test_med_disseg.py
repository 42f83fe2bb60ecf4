"""Med-DisSeg trains, resumes, evaluates, predicts and exports through its overlay."""

import json
import shutil

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ckpt_export
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from condseg_monai import MedDisSeg, MedDisSegStage1

TINY_NETWORK = {"encoder": "resnet18", "decoder_channels": 16}


@pytest.fixture(scope="module")
def trained(run_config, tiny_knobs, tmp_path_factory):
    """Both stages, two iterations each. Read it, do not write to it."""
    folder = tmp_path_factory.mktemp("med_disseg")
    for stage in ("train_stage1", "train_stage2"):
        run_config(stage, "med_disseg", **tiny_knobs, **folders(folder), panel_interval=1)
    return folder


def folders(path):
    return {"ckpt_dir": str(path / "models"), "output_dir": str(path / "eval")}


def state(path):
    return torch.load(path, weights_only=True)


def test_both_stages_train_their_networks_and_log_the_term(trained):
    for stage, name, network in (
        ("stage1", "stage1.pt", MedDisSegStage1(encoder="resnet18")),
        ("stage2", "model.pt", MedDisSeg(**TINY_NETWORK)),
    ):
        network.load_state_dict(state(trained / "models" / name))
        events = EventAccumulator(str(trained / "eval" / "tensorboard" / stage))
        events.Reload()
        terms = [event.value for event in events.Scalars("loss/dispersive")]
        assert len(terms) == 2
        assert max(terms) < 0
        assert "loss/consistency" in events.Tags()["scalars"] or stage == "stage2"
        record = json.loads((trained / "models" / f"run_{stage}.json").read_text())
        assert (record["knobs"]["dispersive_weight"], record["knobs"]["dispersive_normalize"]) == (0.2, True)


def test_weights_of_the_term_change_the_training(open_config, tiny_knobs, tmp_path):
    losses = []
    for weight in (0.0, 0.2):
        knobs = {**tiny_knobs, **folders(tmp_path / str(weight)), "stage1_checkpoint": None, "panel_interval": 0}
        workflow = open_config("train", "med_disseg", **knobs, dispersive_weight=weight)
        workflow.initialize()
        found = []

        def note(engine, found=found):
            terms = engine.loss_function.terms
            found.append((engine.state.output["loss"].item(), terms["dispersive"].item()))

        workflow.trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
        workflow.run()
        workflow.finalize()
        losses.append(found)
    (without, term), (with_term, same) = losses[0][0], losses[1][0]
    assert same == term
    assert with_term == pytest.approx(without + 0.2 * term, abs=1e-5)
    assert losses[0][1] != losses[1][1]


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_killed_run_is_resumed_and_other_weights_of_the_term_are_refused(
    run_config, tiny_knobs, trained, tmp_path, stage
):
    (tmp_path / "models").mkdir()
    for name in ("stage1.pt", f"resume_{stage}.pt", f"run_{stage}.json", "model.pt"):
        shutil.copy(trained / "models" / name, tmp_path / "models")
    knobs = {**tiny_knobs, **folders(tmp_path), "epochs": 2, "resume": True, "panel_interval": 0}
    with pytest.raises(RuntimeError) as error:
        run_config(f"train_{stage}", "med_disseg", **knobs, dispersive_weight=0.5)
    assert "dispersive_weight=0.2" in str(error.value.__cause__)
    run_config(f"train_{stage}", "med_disseg", **knobs)
    record = json.loads((tmp_path / "models" / f"run_{stage}.json").read_text())
    assert [entry["after_epoch"] for entry in record["resumed"]] == [1]
    assert record["result"]["iterations"] == 4


@pytest.mark.parametrize(("stage", "checkpoint"), [("train_stage1", "stage1.pt"), ("train", "model.pt")])
def test_both_stages_are_evaluated(run_config, tiny_knobs, trained, tmp_path, stage, checkpoint):
    knobs = {**tiny_knobs, **folders(trained), "output_dir": str(tmp_path), "split": "test"}
    knobs["checkpoint"] = str(trained / "models" / checkpoint)
    workflow = run_config(stage, "med_disseg", "evaluate", **knobs)
    saved = state(trained / "models" / checkpoint)
    assert all(torch.equal(value, saved[key]) for key, value in workflow.network_def.state_dict().items())
    assert json.loads((tmp_path / "summary_test.json").read_text())["images"] == 2


def test_images_are_segmented(open_config, tiny_knobs, trained, tiny_dataset, tmp_path):
    knobs = {key: value for key, value in tiny_knobs.items() if key not in ("epochs", "encoder_weights")}
    knobs |= {"dataset_dir": str(tiny_dataset / "images"), "output_dir": str(tmp_path), "save_uncertainty": "png"}
    knobs["ckpt_dir"] = str(trained / "models")
    workflow = open_config("inference", "med_disseg", workflow_type="infer", **knobs)
    workflow.initialize()
    assert isinstance(workflow.network_def, MedDisSeg)
    assert workflow.check_properties() == []
    workflow.run()
    assert Image.open(tmp_path / "test_0.png").size == (36, 40)
    assert Image.open(tmp_path / "uncertainty" / "val_2.png").size == (36, 40)


def test_exported_torchscript_gives_the_same_logits(bundle_dir, trained, tmp_path):
    configs = bundle_dir / "configs"
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(trained / "models" / "model.pt"),
        meta_file=str(configs / "metadata.json"),
        config_file=[str(configs / "inference.json"), str(configs / "med_disseg.json")],
        **TINY_NETWORK,
    )
    network = MedDisSeg(**TINY_NETWORK)
    network.load_state_dict(state(trained / "models" / "model.pt"))
    image = torch.rand(1, 3, 45, 50)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(str(tmp_path / "model.ts"))(image), network.eval()(image))

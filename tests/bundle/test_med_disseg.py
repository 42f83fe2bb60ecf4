"""The dispersive loss of Med-DisSeg in training: logged, and weighted by its option."""

import json

import pytest
from ignite.engine import Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from condseg_monai import MedDisSeg, MedDisSegStage1
from tests.runs import folders, state

TINY_NETWORK = {"encoder": "resnet18", "decoder_channels": 16}


@pytest.fixture(scope="module")
def trained(run_config, tiny_options, tmp_path_factory):
    """Both stages, two iterations each. Read it, do not write to it."""
    folder = tmp_path_factory.mktemp("med_disseg")
    for stage in ("train_stage1", "train_stage2"):
        run_config(stage, "med_disseg", **tiny_options, **folders(folder), panel_interval=1)
    return folder


def test_both_stages_train_their_networks_and_log_the_term(trained):
    for stage, name, network in (
        ("stage1", "stage1.pt", MedDisSegStage1(encoder="resnet18")),
        ("stage2", "model.pt", MedDisSeg(**TINY_NETWORK)),
    ):
        network.load_state_dict(state(trained / "models" / name))
        events = EventAccumulator(str(trained / "eval" / "tensorboard" / stage / "run_1"))
        events.Reload()
        terms = [event.value for event in events.Scalars("loss/dispersive")]
        assert len(terms) == 2
        assert max(terms) < 0
        assert "loss/consistency" in events.Tags()["scalars"] or stage == "stage2"
        record = json.loads((trained / "models" / f"run_{stage}.json").read_text())
        assert (record["options"]["dispersive_weight"], record["options"]["dispersive_normalize"]) == (0.2, True)


@pytest.mark.slow
def test_weights_of_the_term_change_the_training(open_config, tiny_options, tmp_path):
    losses = []
    for weight in (0.0, 0.2):
        options = {**tiny_options, **folders(tmp_path / str(weight)), "stage1_checkpoint": None, "panel_interval": 0}
        workflow = open_config("train_stage2", "med_disseg", **options, dispersive_weight=weight)
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


@pytest.mark.slow
def test_attention_is_left_out_by_option_and_the_card_says_so(run_config, tiny_options, tmp_path):
    options = {**tiny_options, **folders(tmp_path), "elat": False, "cbat": False, "panel_interval": 0}
    for stage, name, option, part in (
        ("train_stage1", "stage1", "elat", "levels.0.attention."),
        ("train_stage2", "model", "cbat", "small_decoder.cbam."),
    ):
        run_config(stage, "med_disseg", **options)
        assert not any(key.startswith(part) for key in state(tmp_path / "models" / f"{name}.pt"))
        card = json.loads((tmp_path / "models" / f"{name}.json").read_text())
        assert card["method"].startswith("med_disseg") and card["network"][option] is False

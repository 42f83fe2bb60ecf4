"""Semi-supervised training of DEC-Seg and of ConDSeg: lists, terms, resume, several processes."""

import json
import logging
import shutil
import socket

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.runs import equal, folders, names, state, train

FILES = [
    "generators_final.pt",
    "model.pt",
    "model.json",
    "model_final.json",
    "model_final.pt",
    "resume_stage2.state",
    "run_stage2.json",
]
TERMS = {"supervised", "scale_consistency", "perturbation_consistency", "generative_consistency", "rampup"}
STUDENTS = {
    "dec_seg": (("train_dec_seg",), {"full_scale", "down_scale", "mask"}),
    "condseg": (
        ("train_dec_seg", "semi_supervised_condseg"),
        {"mask", "foreground", "background", "complementary", "foreground_weight", "background_weight"},
    ),
}


@pytest.fixture(scope="module")
def dataset(tiny_dataset, tmp_path_factory):
    """Two labelled images, and two without mask files."""
    folder = tmp_path_factory.mktemp("semi_supervised") / "data"
    shutil.copytree(tiny_dataset, folder)
    (folder / "labeled.txt").write_text("train_0\ntrain_1\n")
    (folder / "unlabeled.txt").write_text("train_2\ntrain_3\n")
    for stem in ("train_2", "train_3"):
        (folder / "masks" / f"{stem}.png").unlink()
    return folder


@pytest.fixture(scope="module")
def options(tiny_options, dataset):
    # 64: at 32 pixels the down scale, a multiple of 32, would be no smaller
    return {**tiny_options, "dataset_dir": str(dataset), "early_stop_patience": 9, "image_size": 64}


@pytest.fixture(scope="module", params=["dec_seg", pytest.param("condseg", marks=pytest.mark.slow)])
def trained(request, open_config, options, tmp_path_factory):
    """Three epochs of two iterations of one labelled and one unlabelled image."""
    path = tmp_path_factory.mktemp(request.param)
    files, terms = STUDENTS[request.param]
    losses = train(open_config, files, path, **{**options, "epochs": 3, "rampup_epochs": 2})
    return files, terms, path, losses


def test_run_leaves_student_generators_and_record(trained, dataset):
    _, _, path, losses = trained
    assert names(path / "models") == sorted(FILES)
    assert sorted(losses) == list(range(1, 7))
    assert all(np.isfinite(list(losses.values())))
    record = json.loads((path / "models" / "run_stage2.json").read_text())
    assert {name: split["count"] for name, split in record["splits"].items()} == {
        "labeled": 2,
        "unlabeled": 2,
        "validation": 3,
    }
    assert record["checkpoints"].keys() == {"model.pt", "model_final.pt", "generators_final.pt"}
    student = state(path / "models" / "model_final.pt")
    resumed = state(path / "models" / "resume_stage2.state")
    assert {f"student.{key}" for key in student} == {k for k in resumed["network"] if k.startswith("student.")}
    generators = state(path / "models" / "generators_final.pt")
    assert all(torch.equal(value, resumed["network"][f"generators.{key}"]) for key, value in generators.items())


def test_every_term_and_rate_is_logged_and_the_rate_falls(trained):
    _, terms, path, _ = trained
    written = EventAccumulator(
        str(path / "eval" / "tensorboard" / "semi_supervised" / "run_1"), size_guidance={"scalars": 0}
    )
    written.Reload()
    tags = set(written.Tags()["scalars"])
    assert {f"loss/{name}" for name in TERMS | terms | {"total"}} <= tags
    assert {f"learning_rate/{name}" for name in ("encoder", "generators", "decoder")} <= tags
    rates = [event.value for event in written.Scalars("learning_rate/decoder")]
    assert rates == pytest.approx([rates[0] * (1 - step / 6) ** 0.9 for step in range(6)], rel=1e-4)
    assert all(written.Scalars(f"loss/{name}")[0].value > 0 for name in TERMS)
    assert written.Scalars("loss/rampup")[-1].value == 1.0


@pytest.mark.slow
def test_run_that_failed_is_resumed_bit_for_bit(trained, open_config, options, tmp_path):
    files, _, whole, expected = trained
    options = {**options, "epochs": 3, "rampup_epochs": 2}
    before = train(open_config, files, tmp_path, interrupt=4, **options)
    after = train(open_config, files, tmp_path, **options, resume=True)
    assert min(after) == 3
    assert {**before, **after} == expected
    for name in ("model_final.pt", "generators_final.pt", "resume_stage2.state"):
        first, second = (state(path / "models" / name) for path in (whole, tmp_path))
        for end in (first, second):
            end.pop("seconds", None)
        assert equal(first, second), name


def test_supervised_half_sees_no_unlabelled_image_and_has_as_many_steps(open_config, options, tmp_path):
    seen = set()
    options = {**options, "labeled_batch_size": 2, "unlabeled_batch_size": 0, "scale_weight": 0, "generative_weight": 0}
    options |= {"dcf": "false", "cfa": False}
    workflow = open_config("train_dec_seg", **options, **folders(tmp_path))
    workflow.initialize()
    workflow.trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda engine: seen.update(engine.state.batch["image_file"])
    )
    workflow.run()
    assert {str(file).rpartition("/")[2] for file in seen} == {"train_0.png", "train_1.png"}
    assert "generators_final.pt" not in names(tmp_path / "models")


def test_share_of_labels_is_drawn_and_logged(open_config, options, tiny_dataset, tmp_path, caplog):
    logging.getLogger().setLevel(logging.INFO)
    options = {**options, "dataset_dir": str(tiny_dataset), "labeled_fraction": 0.5, "seed": 3}
    workflow = open_config("train_dec_seg", **options, **folders(tmp_path))
    workflow.initialize()
    batch = next(iter(workflow.trainer.data_loader))
    assert batch["labeled"].tolist() == [True, False]
    assert batch["label"][1].isnan().all()
    assert "with labeled_fraction 0.5 and seed 3" in caplog.text


@pytest.mark.slow
def test_other_labels_are_refused_on_resume(open_config, options, tmp_path, dataset):
    folder = tmp_path / "data"
    shutil.copytree(dataset, folder)
    options = {**options, "dataset_dir": str(folder), "scale_weight": 0, "generative_weight": 0, "dcf": False}
    train(open_config, ("train_dec_seg",), tmp_path, **options)
    (folder / "labeled.txt").write_text("train_1\ntrain_0\n")
    workflow = open_config("train_dec_seg", **folders(tmp_path), **options, resume=True)
    workflow.initialize()
    with pytest.raises(RuntimeError) as error:
        workflow.run()
    assert "labeled list was" in str(error.value.__cause__)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="one process on the CPU, by gloo")
def test_overlay_for_several_gpus_runs_in_a_group_of_one(run_config, options, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    options = {key: value for key, value in options.items() if key != "device"}
    try:
        run_config("train_dec_seg", "multi_gpu_semi_supervised", **options, **folders(tmp_path), finalize=[])
    finally:
        idist.finalize()  # ignite remembers the group, and leaves it here for the tests to come
    assert names(tmp_path / "models") == sorted(FILES)
    assert not any(key.startswith(("module.", "student.")) for key in state(tmp_path / "models" / "model.pt"))


@pytest.mark.parametrize("files", [files for files, _ in STUDENTS.values()])
def test_one_channel_is_that_of_student_generators_and_images(open_config, options, tmp_path, files):
    workflow = open_config(*files, **options, **folders(tmp_path), channels=1)
    network = workflow.parser.get_parsed_content("training_network_def")
    assert {generator.output.out_channels for generator in network.generators} == {1}
    assert network.student.in_channels == 1
    assert workflow.parser.get_parsed_content("train#dataset")[0]["image"].shape == (1, 64, 64)

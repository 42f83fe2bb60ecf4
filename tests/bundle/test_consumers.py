"""MONAI's own tools and its federated client on the bundle."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import torch
from monai.bundle import ConfigWorkflow, load, verify_metadata, verify_net_in_out
from monai.fl.client import MonaiAlgo, MonaiAlgoStats
from monai.fl.utils.constants import ExtraItems, FlStatistics, ModelType
from monai.fl.utils.exchange_object import ExchangeObject

from condseg_monai import ConDSeg
from condseg_monai.utils.errors import root_cause

SCHEMA = Path(__file__).parent / "data" / "meta_schema_20240725.json"
TINY_NETWORK = {"encoder": "resnet18", "decoder_channels": 16}


@pytest.fixture
def metadata(bundle_dir):
    return json.loads((bundle_dir / "configs" / "metadata.json").read_text())


@pytest.fixture
def bundle_copy(bundle_dir, trained, tmp_path):
    """The bundle in a folder of its own, with the tiny network's weights in it."""
    copy = tmp_path / "condseg"
    shutil.copytree(bundle_dir, copy, ignore=shutil.ignore_patterns("*.pt", "*.ts", "eval"))
    shutil.copy(trained.ckpt_dir / "model.pt", copy / "models" / "model.pt")
    return copy


def test_metadata_fits_monais_schema(bundle_dir, metadata, tmp_path):
    jsonschema.validate(metadata, json.loads(SCHEMA.read_text()))  # tells the field when it fails
    schema = shutil.copy(SCHEMA, tmp_path)
    verify_metadata(meta_file=str(bundle_dir / "configs" / "metadata.json"), filepath=str(schema))


def test_metadata_lists_its_own_version_and_the_tested_packages(metadata):
    assert metadata["version"] in metadata["changelog"]
    assert metadata["schema"].endswith(SCHEMA.name)
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"]["0"] == "background"


def test_every_file_of_a_bundle_is_there(bundle_dir):
    for name in ("LICENSE", "docs/README.md", "docs/data_license.txt", "configs/logging.conf", "models/README.md"):
        assert (bundle_dir / name).stat().st_size > 0, name
    assert (bundle_dir / "LICENSE").read_text().split()[:4] == ["Apache", "License", "Version", "2.0,"]


@pytest.mark.parametrize("name", ["train", "inference"])
def test_network_maps_the_declared_input_to_the_declared_output(bundle_dir, name, tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").touch()
    configs = bundle_dir / "configs"
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / f"{name}.json"),
        device="cpu",
        bundle_root=str(tmp_path),  # without a model
        **TINY_NETWORK,
    )


@pytest.mark.slow
def test_bundle_that_is_not_packed_loads_in_its_folder_and_nowhere_else(bundle_copy, trained, monkeypatch, tmp_path):
    shutil.copy(trained.ckpt_dir / "model.json", bundle_copy / "models")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError) as error:
        load(bundle_copy.name, bundle_dir=str(bundle_copy.parent))
    assert "bundle_root . is not a bundle" in str(root_cause(error.value))
    monkeypatch.chdir(bundle_copy)
    network = load(bundle_copy.name, bundle_dir=str(bundle_copy.parent))
    saved = torch.load(bundle_copy / "models" / "model.pt", weights_only=True)
    assert isinstance(network, ConDSeg)
    assert all(torch.equal(value, saved[key]) for key, value in network.state_dict().items())
    assert not (tmp_path / "eval").exists()


@pytest.mark.slow
def test_federated_client_trains_evaluates_and_returns_weights(bundle_copy, tiny_options, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (bundle_copy / "models" / "model.pt").unlink()
    client = MonaiAlgo(
        bundle_root=str(bundle_copy),
        local_epochs=1,
        send_weight_diff=False,
        train_kwargs=dict(tiny_options),
        eval_kwargs=dict(tiny_options),
    )
    client.initialize(extra={ExtraItems.CLIENT_NAME: "site1"})
    sent = {key: value.clone() for key, value in client.get_weights().weights.items()}
    for _ in range(2):
        client.train(ExchangeObject(weights=sent))  # no stage 1: the first weights are the server's
    best = client.get_weights(extra={ExtraItems.MODEL_TYPE: ModelType.BEST_MODEL}).weights
    assert best.keys() == sent.keys()
    for weights in (sent, best):  # the second round's report replaces the first's
        metrics = client.evaluate(ExchangeObject(weights=weights)).metrics
        summary = json.loads((bundle_copy / "eval" / "summary_val.json").read_text())
        assert metrics["val_mean_iou"] == pytest.approx(summary["scores"]["mean_iou"]["mean"])
    assert sorted(path.name for path in (bundle_copy / "models").iterdir() if path.suffix == ".pt") == [
        "model.pt",
        "model_final.pt",
    ]
    client.finalize()


def test_federated_client_describes_its_data(bundle_dir, tiny_options, tmp_path):
    pytest.importorskip("yaml")  # MONAI writes its statistics with it
    options = {
        **tiny_options,
        "bundle_root": str(bundle_dir),
        "ckpt_dir": str(tmp_path / "m"),
        "output_dir": str(tmp_path),
    }
    config = str(bundle_dir / "configs" / "train.json")
    workflow = ConfigWorkflow(config, workflow_type="train", logging_file=False, **options)
    client = MonaiAlgoStats(bundle_root=str(bundle_dir), workflow=workflow)
    client.initialize(extra={ExtraItems.CLIENT_NAME: "site1", ExtraItems.APP_ROOT: str(tmp_path)})
    asked = {FlStatistics.HIST_BINS: [10], FlStatistics.HIST_RANGE: [[0, 256]]}
    statistics = client.get_data_stats(extra=asked).statistics
    assert {"train", "eval"} <= statistics.keys()
    assert statistics["train"][FlStatistics.DATA_COUNT] == 4


@pytest.mark.slow
def test_command_line_runs_a_config_from_the_bundle_folder(bundle_copy, tiny_options):
    # MONAI drops None from its command line: null is written $None
    options = {name: value for name, value in tiny_options.items() if name != "decoder_channels"}  # of stage 2
    arguments = [f"--{name}={'$None' if value is None else value}" for name, value in options.items()]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/train_stage1.json", *arguments]
    result = subprocess.run(command, cwd=bundle_copy, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stderr
    assert (bundle_copy / "models" / "stage1.pt").is_file()
    assert "Setting logging properties based on config: configs/logging.conf" in result.stdout
    assert "train_loss" not in result.stdout  # every 20 iterations; this run has two
    assert "val_mean_iou" in result.stdout
    options = json.loads((bundle_copy / "models" / "run_stage1.json").read_text())["options"]
    assert (options["bundle_root"], options["encoder_weights"], options["image_size"]) == (".", None, 32)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from monai.bundle import ConfigWorkflow

from condseg_monai.inference.packed_bundle import pack_bundle
from tests.bundle.models import save_model
from tests.runs import folders

Open = Callable[..., ConfigWorkflow]


class Trained(NamedTuple):
    """What one run of both stages left behind."""

    ckpt_dir: Path
    output_dir: Path


@pytest.fixture(scope="session")
def tiny_options(tiny_dataset: Path) -> dict[str, Any]:
    """Options with which every training config takes two iterations of two images in a second or two."""
    return {
        "dataset_dir": str(tiny_dataset),
        "device": "cpu",
        "encoder": "resnet18",
        "encoder_weights": None,
        "decoder_channels": 16,
        "image_size": 32,
        "batch_size": 2,
        "epochs": 1,
        "num_workers": 0,
        "progress_bar": False,
    }


@pytest.fixture
def options(tiny_options: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The tiny options of one stage alone, which writes into the test's folder."""
    return {**tiny_options, **folders(tmp_path), "stage1_checkpoint": None}


@pytest.fixture(scope="session")
def open_config(bundle_dir: Path) -> Open:
    """Open one or more config files of the bundle as MONAI does, logging left alone."""

    def open_files(*names: str, workflow_type: str = "train", **overrides: Any) -> ConfigWorkflow:
        files = [str(bundle_dir / "configs" / f"{name}.json") for name in names]
        return ConfigWorkflow(files, logging_file=False, workflow_type=workflow_type, **overrides)

    return open_files


@pytest.fixture(scope="session")
def run_config(open_config: Open) -> Open:
    """Open config files and run them from start to end."""

    def run(*names: str, **overrides: Any) -> ConfigWorkflow:
        workflow = open_config(*names, **overrides)
        workflow.initialize()
        workflow.run()
        workflow.finalize()
        return workflow

    return run


@pytest.fixture(scope="session")
def trained(run_config: Open, tiny_options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Both stages, one after the other, two iterations each. Read it, do not write to it."""
    folder = tmp_path_factory.mktemp("trained")
    result = Trained(folder / "models", folder / "eval")
    run_config("train_stage1", **tiny_options, **folders(folder))
    run_config("train_stage2", **tiny_options, **folders(folder))
    return result


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed bundle of a small U-Net. Read it, do not write to it."""
    root = tmp_path_factory.mktemp("packed")
    return pack_bundle(save_model(root / "run", "unet"), root / "unet", torchscript=False)

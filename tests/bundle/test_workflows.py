"""Workflows of programs that open a config, change it, and run it or its evaluator themselves."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow, create_workflow
from PIL import Image

from condseg_monai import Segmenter
from condseg_monai.inference.packed_bundle import pack_bundle
from tests.bundle.models import save_model

OPTIONS = {"device": "cpu", "num_workers": 0, "batch_size": 2, "progress_bar": False}
ORGANS = ("background", "liver", "spleen")


@pytest.fixture(scope="module")
def ct_bundle(tmp_path_factory):
    root = tmp_path_factory.mktemp("packed")
    run = save_model(root / "run", "unet", kind="ct", class_names=ORGANS, window_hu=(-100.0, 200.0))
    return pack_bundle(run, root / "ct", torchscript=False)


@pytest.fixture
def changed(tmp_path, tiny_dataset):
    """Two of the data set's images, elsewhere, as a data list."""
    (tmp_path / "changed").mkdir()
    images = sorted((tiny_dataset / "images").iterdir())[:2]
    return [{"image": str(shutil.copy(image, tmp_path / "changed" / f"other_{image.name}"))} for image in images]


def open_inference(bundle, source, output_dir, **options):
    return ConfigWorkflow(
        str(bundle / "configs" / "inference.json"),
        logging_file=False,
        workflow_type="infer",
        **OPTIONS | {"bundle_root": str(bundle), "dataset_dir": str(source), "output_dir": str(output_dir)} | options,
    )


def assert_masks_are_ours(bundle, data, output_dir):
    segmenter = Segmenter(bundle, device="cpu", batch_size=2)
    masks = sorted(output_dir.glob("*.png"))
    assert [mask.stem for mask in masks] == [Path(case["image"]).stem for case in data]
    for case, mask in zip(data, masks, strict=True):
        assert np.array_equal(np.asarray(Image.open(mask)) > 0, segmenter.predict(case["image"]).mask > 0)


@pytest.mark.parametrize("when", ["before", "after"])
def test_changed_data_list_is_what_is_segmented_and_recorded(bundle, tiny_dataset, changed, tmp_path, when):
    workflow = open_inference(bundle, tiny_dataset / "images", tmp_path / "out")
    if when == "after":
        workflow.initialize()
    workflow.dataset_data = changed
    workflow.initialize()
    workflow.run()
    assert_masks_are_ours(bundle, changed, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "inference.json").read_text())
    assert sorted(record["segmented"]) == sorted(case["image"] for case in changed) and record["failed"] == {}


def test_files_are_written_when_the_evaluator_returns(bundle, changed, tmp_path):
    workflow = open_inference(bundle, tmp_path / "changed", tmp_path / "out", save_probability="npy", save_overlay=True)
    workflow.initialize()
    workflow.evaluator.run()  # no workflow.run(), as a program does that has a loop of its own
    assert_masks_are_ours(bundle, changed, tmp_path / "out")
    for name in ("probability/{}.npy", "overlay/{}.png"):
        for case in changed:
            assert (tmp_path / "out" / name.format(Path(case["image"]).stem)).stat().st_size > 0


def test_changed_list_of_scans_is_written_when_the_evaluator_returns(ct_bundle, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("listed", "changed"):
        volume = nib.Nifti1Image(rng.normal(50, 200, (20, 24, 3)).astype(np.int16), np.diag([-0.8, -0.9, 5, 1]))
        (tmp_path / name).mkdir()
        nib.save(volume, tmp_path / name / f"{name}.nii.gz")
    workflow = open_inference(ct_bundle, tmp_path / "listed", tmp_path / "out", batch_size=1)
    scan = tmp_path / "changed" / "changed.nii.gz"
    workflow.dataset_data = [{"image": str(scan)}]
    workflow.initialize()
    workflow.evaluator.run()
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["changed.nii.gz"]
    labels = np.asarray(nib.load(tmp_path / "out" / "changed.nii.gz").dataobj)
    assert np.array_equal(labels, Segmenter(ct_bundle, device="cpu").predict(scan).mask)


def test_none_from_python_applies(bundle_dir, tiny_options, tmp_path):
    files = [str(bundle_dir / "configs" / "train_stage2.json")]
    options = tiny_options | {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    workflow = ConfigWorkflow(files, logging_file=False, workflow_type="train", **options, stage1_checkpoint=None)
    workflow.initialize()
    assert workflow.parser.get_parsed_content("stage1_checkpoint") is None
    # MONAI's create_workflow and command line drop None, as if it had not been given: an expression takes its place.
    options |= {"encoder_weights": "$None", "stage1_checkpoint": "$None"}
    workflow = create_workflow(config_file=files, logging_file=False, workflow_type="train", **options)
    assert workflow.parser.get_parsed_content("stage1_checkpoint") is None
    workflow.run()
    assert (tmp_path / "models" / "model.pt").is_file()

"""A packed bundle uses its model right with no option."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, load, verify_metadata, verify_net_in_out
from monai.transforms import Compose
from PIL import Image

from condseg_monai import ModelCard, Segmenter
from condseg_monai.cli.commands import main
from condseg_monai.inference.packed_bundle import pack_bundle
from tests.bundle.models import save_model
from tests.bundle.test_consumers import SCHEMA

METHODS = ("condseg", "med_disseg", "dec_seg", "unet", "condseg_stage1")
ORGANS = ("background", "liver", "spleen")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Bundles of every method, and one of CT volumes, by name."""
    root = tmp_path_factory.mktemp("packed")
    for method in METHODS:
        save_model(root / "runs" / method, method, threshold=0.45)
    save_model(root / "runs" / "ct", kind="ct", class_names=ORGANS, window_hu=(-100.0, 200.0))
    save_model(root / "runs" / "classes", class_names=ORGANS, class_values=(0, 7, 9))
    for name in (*METHODS, "ct", "classes"):
        pack_bundle(root / "runs" / name, root / name, torchscript=name == "condseg")
    return root


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [*METHODS, "ct", "classes"])
def test_load_gives_the_network_with_all_its_weights(packed, elsewhere, name):
    network = load(name, bundle_dir=str(packed))
    saved = torch.load(packed / "runs" / name / "models" / "model.pt", weights_only=True)
    found = network.state_dict()
    assert all(torch.equal(found[key], value) for key, value in saved.items() if key != "class_names")
    assert found.keys() - saved.keys() <= {"class_names"}


@pytest.mark.parametrize("name", [*METHODS, "ct", "classes"])
def test_metadata_and_network_agree(packed, elsewhere, name):
    configs = packed / name / "configs"
    verify_metadata(meta_file=str(configs / "metadata.json"), filepath=str(shutil.copy(SCHEMA, elsewhere)))
    for config in ("inference", "train"):
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(configs / "metadata.json"),
            config_file=str(configs / f"{config}.json"),
            device="cpu",
        )
    pred = json.loads((configs / "metadata.json").read_text())["network_data_format"]["outputs"]["pred"]
    assert list(pred["channel_def"].values()) == list(ORGANS if name in ("ct", "classes") else ("background", "lesion"))


@pytest.mark.parametrize("name", METHODS)
def test_inference_needs_no_option_and_gives_the_masks_of_the_run(packed, elsewhere, tiny_dataset, name):
    places = {"dataset_dir": str(tiny_dataset / "images"), "output_dir": str(elsewhere / "out")}
    options = {"device": "cpu", "num_workers": 0, "batch_size": 1, "progress_bar": False}
    config = str(packed / name / "configs" / "inference.json")
    workflow = ConfigWorkflow(
        config, logging_file=False, workflow_type="infer", bundle_root=str(packed / name), **places, **options
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    segmenter = Segmenter(packed / "runs" / name, device="cpu", batch_size=1)
    for path in sorted((tiny_dataset / "images").iterdir()):
        mask = np.asarray(Image.open(elsewhere / "out" / f"{path.stem}.png"))
        assert np.array_equal(mask, segmenter.predict(path).mask * 255)


def test_exported_torchscript_has_the_model_s_size_and_gives_its_mask(packed, elsewhere, tiny_dataset):
    """The steps of MONAI Deploy: configs from the TorchScript, transforms but for those that read and write files."""
    bundle = packed / "condseg"
    ckpt_export(  # as in the packed folder, with no word of the model
        net_id="network_def",
        filepath=str(elsewhere / "again.ts"),
        ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
    )
    path = next(iter(sorted((tiny_dataset / "images").iterdir())))
    expected = Segmenter(packed / "runs" / "condseg", device="cpu").predict(path).mask
    for script in (bundle / "models" / "model.ts", elsewhere / "again.ts"):
        files = {"inference.json": "", "metadata.json": ""}
        network = torch.jit.load(str(script), _extra_files=files)
        parser = ConfigParser(json.loads(files["inference.json"]))
        parser["device"] = torch.device("cpu")
        assert json.loads(files["inference.json"])["image_size"] == 32
        transforms = [parser.get_parsed_content(f"{part}processing") for part in ("pre", "post")]
        before, after = (Compose([t for t in c.transforms if "SaveImage" not in type(t).__name__]) for c in transforms)
        data = before({"image": str(path)})
        assert data["image"].shape == (3, 32, 32)
        with torch.no_grad():
            data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
        assert np.array_equal(np.asarray(after(data)["pred"])[0], expected)


def test_bundle_is_complete_and_has_nothing_else(packed):
    files = {str(file.relative_to(packed / "condseg")) for file in (packed / "condseg").rglob("*") if file.is_file()}
    assert files == {
        "LICENSE",
        *(
            f"configs/{name}"
            for name in ("evaluate.json", "inference.json", "logging.conf", "metadata.json", "train.json")
        ),
        *("docs/README.md", "docs/data_license.txt", "models/model.json", "models/model.pt", "models/model.ts"),
    }
    readme = (packed / "condseg" / "docs" / "README.md").read_text()
    assert "val_mean_iou 0.500 in epoch 3, 95 % interval 0.400 to 0.600" in readme and "| image_size | 32 |" in readme


def test_training_config_evaluates_and_trains_on(packed, run_config, tiny_dataset, elsewhere):
    bundle = shutil.copytree(packed / "condseg", elsewhere / "moved")
    options = {"device": "cpu", "num_workers": 0, "batch_size": 2, "progress_bar": False, "bundle_root": str(bundle)}
    files = [str(bundle / "configs" / f"{name}.json") for name in ("train", "evaluate")]
    workflow = ConfigWorkflow(files, logging_file=False, **options, dataset_dir=str(tiny_dataset))
    workflow.initialize()
    workflow.run()
    assert json.loads((bundle / "eval" / "summary_val.json").read_text())["image_size"] == 32


def test_zip_and_half_precision(packed, tmp_path):
    assert (
        main(["pack", str(packed / "runs" / "condseg"), str(tmp_path / "small.zip"), "--half", "--no_torchscript"]) == 0
    )
    names = zipfile.ZipFile(tmp_path / "small.zip").namelist()
    assert "small/models/model.pt" in names and "small/models/model.ts" not in names
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    whole, half = (
        Segmenter(model, device="cpu").predict(image).probability
        for model in (packed / "condseg", tmp_path / "small.zip")
    )
    np.testing.assert_allclose(half, whole, atol=0.05)
    card = ModelCard.read(packed / "condseg" / "models" / "model.json")
    assert card.weights["file"] == "model.pt" and card.training["best"]["value"] == 0.5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: (path / "runs", path / "packed"), "was not made by condseg pack"),
        (lambda path: (path / "bare", path / "new"), "has no model card"),
        (lambda path: (path / "nowhere", path / "new"), "does not exist"),
    ],
)
def test_what_cannot_be_packed_is_an_error_and_leaves_nothing(make, words, tmp_path, capsys):
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "mine.txt").write_text("mine")
    (tmp_path / "bare").mkdir()
    torch.save({}, tmp_path / "bare" / "model.pt")
    model, destination = make(save_model(tmp_path / "runs").parent)
    assert main(["pack", str(model), str(destination), "--overwrite"]) == 1
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "packed" / "mine.txt").read_text() == "mine" and not (tmp_path / "new").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare", "packed", "runs"]


def test_packed_bundle_is_replaced_only_if_asked(packed, tmp_path, capsys):
    bundle = shutil.copytree(packed / "unet", tmp_path / "unet")
    arguments = ["pack", str(packed / "runs" / "condseg"), str(bundle), "--no_torchscript"]
    assert main(arguments) == 1
    assert "exists: give another destination, or --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert ModelCard.read(bundle / "models" / "model.json").method == "condseg"


class TestExport:
    @pytest.mark.parametrize("method", ["condseg", "unet"])
    def test_torchscript_serves_other_sizes_and_batches(self, packed, tmp_path, capsys, method):
        path = tmp_path / "model.ts"
        assert main(["export", str(packed / "runs" / method), str(path)]) == 0
        assert "torchscript, equal to the model within" in capsys.readouterr().out
        assert torch.jit.load(str(path))(torch.rand(3, 3, 48, 64)).shape == (3, 1, 48, 64)

    @pytest.mark.slow
    def test_onnx_serves_other_sizes_and_batches(self, packed, tmp_path, capsys):
        onnxruntime = pytest.importorskip("onnxruntime")
        path = tmp_path / "model.onnx"
        assert main(["export", str(packed / "runs" / "condseg"), str(path)]) == 0
        session = onnxruntime.InferenceSession(str(path))
        assert session.get_outputs()[0].shape == ["batch", 1, "height", "width"]
        assert session.run(None, {"image": np.zeros((2, 3, 48, 80), np.float32)})[0].shape == (2, 1, 48, 80)

    def test_file_that_exists_and_unknown_endings_are_refused(self, packed, tmp_path, capsys):
        (tmp_path / "model.ts").write_text("mine")
        assert main(["export", str(packed / "runs" / "unet"), str(tmp_path / "model.ts")]) == 1
        assert "exists: give another path" in capsys.readouterr().err
        assert (tmp_path / "model.ts").read_text() == "mine"
        assert main(["export", str(packed / "runs" / "unet"), str(tmp_path / "model.bin")]) == 2
        assert "ends in neither .ts nor .onnx" in capsys.readouterr().err

"""A packed bundle uses its model right with no option."""

import json
import shutil
import zipfile

import nibabel as nib
import numpy as np
import pytest
import torch
from google.protobuf import descriptor_pool, message_factory, text_format
from monai.bundle import (
    ConfigParser,
    ConfigWorkflow,
    ckpt_export,
    download_large_files,
    load,
    onnx_export,
    verify_metadata,
    verify_net_in_out,
)
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged
from PIL import Image

from condseg_monai import ConDSeg, ModelCard, Segmenter, synapse_class_names
from condseg_monai.cli.commands import main
from condseg_monai.cli.workflows import config_file
from condseg_monai.inference.packed_bundle import half_weights, load_model, pack_bundle
from condseg_monai.networks.methods import METHODS as ALL_METHODS
from condseg_monai.utils.errors import root_cause
from condseg_monai.utils.method_files import training_files
from tests.bundle.models import save_model
from tests.bundle.test_consumers import SCHEMA

METHODS = ("condseg", "condseg_baseline", "med_disseg", "dec_seg", "unet", "flexible_unet", "condseg_stage1")
ORGANS = ("background", "liver", "spleen")
SYNAPSE = synapse_class_names("transunet")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Bundles of every method, and one of CT volumes, by name."""
    root = tmp_path_factory.mktemp("packed")
    for method in METHODS:
        save_model(root / "runs" / method, method, threshold=0.45)
    save_model(root / "runs" / "ct", kind="ct", class_names=ORGANS, window_hu=(-100.0, 200.0))
    save_model(root / "runs" / "classes", class_names=ORGANS, class_values=(0, 7, 9))
    for name in (*METHODS, "ct", "classes"):
        pack_bundle(root / "runs" / name, root / name, torchscript=name in ("unet", "classes", "ct"))
    return root


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("method", ALL_METHODS)
def test_every_method_has_a_training_to_pack(method):
    parser = ConfigParser()
    parser.read_config([config_file(name) for name in training_files(method)])
    assert parser.get_parsed_content("model#method") == method


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
    for config in ("inference",) if name == "ct" else ("inference", "train"):  # CT trains on slices
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(configs / "metadata.json"),
            config_file=str(configs / f"{config}.json"),
            device="cpu",
        )
    pred = json.loads((configs / "metadata.json").read_text())["network_data_format"]["outputs"]["pred"]
    assert list(pred["channel_def"].values()) == list(ORGANS if name in ("ct", "classes") else ("background", "lesion"))


@pytest.mark.parametrize("name", ["unet", "ct"])
def test_networks_that_programs_open_are_laid_out_as_ours(packed, name):
    """Channels last on a CPU: in another layout convolutions round otherwise."""
    folder = packed / name
    network = open_with((folder / "configs" / "inference.json").read_text(), folder).get_parsed_content("network_def")
    for opened in (network, torch.jit.load(str(folder / "models" / "model.ts"))):
        weights = [value for value in opened.parameters() if value.ndim == 4]
        assert weights and all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def run_inference(bundle, **options):
    """Run ``inference.json`` of a bundle with no option of the model."""
    options |= {"device": "cpu", "batch_size": 1, "progress_bar": False, "bundle_root": str(bundle)}
    config = str(bundle / "configs" / "inference.json")
    workflow = ConfigWorkflow(config, logging_file=False, workflow_type="infer", **options)
    workflow.initialize()
    workflow.run()
    return workflow


@pytest.mark.parametrize("name", [*METHODS, "classes"])
def test_inference_needs_no_option_and_gives_the_masks_of_the_run(packed, elsewhere, tiny_dataset, name):
    images = tiny_dataset / "images"
    options = {"dataset_dir": str(images), "output_dir": str(elsewhere / "out"), "num_workers": 0}
    assert run_inference(packed / name, **options).check_properties() == []
    segmenter = Segmenter(packed / "runs" / name, device="cpu", batch_size=1)
    values = np.asarray([0, 7, 9] if name == "classes" else [0, 255])
    for path in sorted(images.iterdir()):
        mask = np.asarray(Image.open(elsewhere / "out" / f"{path.stem}.png"))
        assert np.array_equal(mask, values[segmenter.predict(path).mask])


AFFINES = {
    "RAS": np.diag([0.8, 0.9, 5, 1]),
    "LPS": np.diag([-0.8, -0.9, 5, 1]),
    "slices first, head down": np.array([[0, 0.8, 0, 3], [0, 0, -0.9, 0], [-5.0, 0, 0, 1], [0, 0, 0, 1]]),
    "oblique": np.array([[0.8, 0.1, 0, 0], [-0.1, 0.9, 0.3, 0], [0, -0.2, 5, 0], [0, 0, 0, 1.0]]),
}


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_inference_on_ct_needs_no_option_and_gives_the_labels_of_the_run(packed, elsewhere, affine):
    scan = nib.Nifti1Image(np.random.default_rng(0).normal(50, 200, (20, 24, 3)).astype(np.int16), affine)
    nib.save(scan, elsewhere / "scan.nii.gz")
    workflow = run_inference(
        packed / "ct", dataset_dir=str(elsewhere / "scan.nii.gz"), output_dir=str(elsewhere / "out")
    )
    assert workflow.check_properties() == []
    found = nib.load(elsewhere / "out" / "scan.nii.gz")
    labels = np.asarray(found.dataobj)
    assert np.unique(labels).size > 1 and labels.dtype == np.uint8
    assert np.allclose(found.affine, affine)
    segmenter = Segmenter(packed / "runs" / "ct", device="cpu", batch_size=1)
    assert np.array_equal(labels, segmenter.predict(elsewhere / "scan.nii.gz").mask)


def test_scan_that_is_not_in_hounsfield_units_is_refused(packed, elsewhere):
    for name, values in (("scaled", np.linspace(0, 1, 960)), ("nan", np.r_[np.nan, np.linspace(-900, 900, 959)])):
        path = elsewhere / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(values.reshape(20, 16, 3).astype(np.float32), np.eye(4)), path)
        with pytest.raises(RuntimeError) as error:
            run_inference(packed / "ct", dataset_dir=str(path), output_dir=str(elsewhere / "out"))
        said = str(root_cause(error.value))
        assert said.startswith(f"{path} has ") and ("not Hounsfield units" in said or "1 voxels that are NaN" in said)
    assert not list((elsewhere / "out").glob("*.nii.gz"))


@pytest.mark.slow
def test_deploy_gives_our_labels_of_a_ct_series(packed, elsewhere):
    array = np.random.default_rng(0).normal(50, 200, (3, 20, 24)).astype(np.float32)  # slices, rows, columns
    affine = np.diag([-0.8, -0.9, 5, 1])  # columns to the left, rows to the back
    volume = nib.Nifti1Image(np.swapaxes(array, 0, 2), affine)
    nib.save(volume, elsewhere / "scan.nii.gz")
    expected = Segmenter(packed / "runs" / "ct", device="cpu", batch_size=8).predict(elsewhere / "scan.nii.gz").mask
    parser = open_with((packed / "ct" / "configs" / "inference.json").read_text(), elsewhere)
    network = parser.get_parsed_content("network")
    network.load_state_dict(torch.load(packed / "ct" / "models" / "model.pt", weights_only=True))
    # As DICOMSeriesToVolumeOperator gives it to MonaiBundleInferenceOperator, which swaps the axes first and last
    meta = {"original_channel_dim": "no_channel", "affine": affine, "original_affine": affine, "space": "RAS"}
    labels = deploy_mask(parser, network.eval(), np.swapaxes(array, 0, 2), meta)
    assert np.array_equal(labels, expected)
    script = elsewhere / "again.ts"
    ckpt_export(
        net_id="network_def",
        filepath=str(script),
        ckpt_file=str(packed / "ct" / "models" / "model.pt"),
        meta_file=str(packed / "ct" / "configs" / "metadata.json"),
        config_file=str(packed / "ct" / "configs" / "inference.json"),
    )
    files = {"inference.json": ""}
    network = torch.jit.load(str(script), _extra_files=files)
    assert np.array_equal(
        deploy_mask(open_with(files["inference.json"], elsewhere), network, np.swapaxes(array, 0, 2), meta), expected
    )


def open_with(config, folder):
    """The config as another program opens it, from a folder that is not the bundle's."""
    parser = ConfigParser(json.loads(config))
    parser.config.update({"device": "cpu", "bundle_root": str(folder)})
    return parser


def without(transforms, *names):
    return [t for t in transforms if not any(name in type(t).__name__ for name in names)]


def deploy_mask(parser, network, array, meta=None):
    """The mask of MONAI Deploy 4.0's ``MonaiBundleInferenceOperator``: its steps, for an ``Image`` rows first."""
    before, after = (
        Compose(without(parser.get_parsed_content(name).transforms, "LoadImage", "SaveImage"))
        for name in ("preprocessing", "postprocessing")
    )
    image = before({"image": MetaTensor(array, meta=meta or {"original_channel_dim": -1})})["image"]
    with torch.no_grad():
        logits = parser.get_parsed_content("inferer")(inputs=image[None], network=network)
    return np.squeeze(after({"pred": logits[0], "image": image})["pred"].numpy(), 0).astype(np.uint8)


@pytest.mark.parametrize("name", ["unet", "classes"])
def test_deploy_gives_our_mask_from_the_folder(packed, elsewhere, name):
    array = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    parser = open_with((packed / name / "configs" / "inference.json").read_text(), elsewhere)
    network = parser.get_parsed_content("network")
    network.load_state_dict(torch.load(packed / name / "models" / "model.pt", weights_only=True))
    expected = Segmenter(packed / "runs" / name, device="cpu").predict(array).mask
    assert np.array_equal(deploy_mask(parser, network.eval(), array), expected)


def test_exported_torchscript_has_the_model_s_size_and_gives_its_mask(packed, elsewhere):
    bundle = packed / "unet"
    ckpt_export(  # as in the packed folder, with no word of the model
        net_id="network_def",
        filepath=str(elsewhere / "again.ts"),
        ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
    )
    array = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    expected = Segmenter(packed / "runs" / "unet", device="cpu").predict(array).mask
    for script in (elsewhere / "again.ts", *(bundle / "models").glob("*.ts")):
        files = {"inference.json": "", "metadata.json": ""}
        network = torch.jit.load(str(script), _extra_files=files)
        assert json.loads(files["inference.json"])["image_size"] == 32
        assert np.array_equal(deploy_mask(open_with(files["inference.json"], elsewhere), network, array), expected)


@pytest.mark.parametrize("name", ["unet", "classes"])
def test_monai_label_writes_our_mask(packed, tiny_dataset, name):
    """The steps of MONAI Label 0.8.5's ``BundleInferTask``, whose writer transposes what its ``Restored`` leaves."""
    bundle, path = packed / name, next(iter(sorted((tiny_dataset / "images").iterdir())))
    parser = open_with((bundle / "configs" / "inference.json").read_text(), bundle)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    data = {"image": str(path)}
    for step in parser.get_parsed_content("preprocessing").transforms:
        if isinstance(step, LoadImaged):
            step._loader.image_only = False
        data = step(data)
    with torch.no_grad():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
    data = Compose(without(parser.get_parsed_content("post_transforms").transforms, "SaveImage"))(data)
    assert (
        not {"image", "image_meta_dict"} & data.keys()
    )  # else Restored resizes the mask to the image's (rows, columns)
    assert np.array_equal(data["pred"].numpy().T, Segmenter(bundle, device="cpu").predict(path).mask)
    assert [file.name for file in sorted((bundle / "models").glob("*.pt"))] == ["model.pt"]


def test_monai_label_writes_our_labels_of_a_scan(packed, elsewhere):
    """Its ``Restored`` resizes labels that are not of the image's ``spatial_shape``, and takes ``original_affine``."""
    affine = AFFINES["slices first, head down"]
    scan = nib.Nifti1Image(np.random.default_rng(0).normal(50, 200, (3, 20, 24)).astype(np.int16), affine)
    nib.save(scan, elsewhere / "scan.nii.gz")
    parser = open_with((packed / "ct" / "configs" / "inference.json").read_text(), packed / "ct")
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(packed / "ct" / "models" / "model.pt", weights_only=True))
    data = parser.get_parsed_content("preprocessing")({"image": str(elsewhere / "scan.nii.gz")})
    with torch.no_grad():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
    data = Compose(without(parser.get_parsed_content("postprocessing").transforms, "SaveImage"))(data)
    assert data["pred"].shape[1:] == tuple(data["image"].meta["spatial_shape"]) == scan.shape
    assert np.allclose(data["image"].meta["original_affine"], affine)
    segmenter = Segmenter(packed / "runs" / "ct", device="cpu")
    assert np.array_equal(data["pred"][0].numpy(), segmenter.predict(elsewhere / "scan.nii.gz").mask)


def test_bundle_is_complete_and_has_nothing_else(packed):
    files = {str(file.relative_to(packed / "unet")) for file in (packed / "unet").rglob("*") if file.is_file()}
    assert files == {
        *("LICENSE", "README.md"),
        *(
            f"configs/{name}"
            for name in (
                *("evaluate.json", "inference.json", "logging.conf", "metadata.json"),
                *("multi_gpu_inference.json", "multi_gpu_train.json", "train.json"),
            )
        ),
        *("docs/README.md", "docs/data_license.txt", "models/model.json", "models/model.pt", "models/model.ts"),
    }
    readme = (packed / "unet" / "docs" / "README.md").read_text()
    assert (packed / "unet" / "README.md").read_text().endswith(f"---\n\n{readme}")
    assert "val_mean_iou 0.500 in epoch 3, 95 % interval 0.400 to 0.600" in readme and "| image_size | 32 |" in readme
    readme_of_ct = (packed / "ct" / "docs" / "README.md").read_text()
    assert "in bounded memory" in readme_of_ct and "in bounded memory" not in readme


def test_hub_reads_its_card_data_and_saves_the_network_with_its_arguments(packed, elsewhere):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(packed / "ct" / "README.md")
    card.data.to_yaml()
    assert (card.data.license, card.data.library_name, card.data.metrics) == (None, "monai", ["mean_iou"])
    shipped = pack_bundle("condseg_polyp", elsewhere / "polyp", torchscript=False)
    data = hub.ModelCard.load(shipped / "README.md").data
    assert data.license == "other" and "research and education only" in data.license_name  # not the package's own
    assert {"condseg", "ct"} <= set(card.data.tags)

    class HubConDSeg(ConDSeg, hub.PyTorchModelHubMixin):
        pass

    _, model, trained = load_model(packed / "runs" / "condseg")
    network = HubConDSeg(**model.network).eval()
    network.load_state_dict(trained.state_dict())
    network.save_pretrained(elsewhere / "saved")
    again = HubConDSeg.from_pretrained(elsewhere / "saved").eval()
    image = torch.rand(1, 3, 40, 48)
    with torch.no_grad():
        assert torch.equal(again(image), trained(image))


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


def test_large_files_are_fetched_from_where_they_are_hosted(packed, elsewhere, monkeypatch):
    monkeypatch.setattr("condseg_monai.inference.packed_bundle._LARGE_BYTES", 100_000)
    hosted = elsewhere / "hosted"
    bundle = pack_bundle(packed / "runs" / "unet", elsewhere / "unet", torchscript=False, url=hosted.as_uri())
    (entry,) = json.loads((bundle / "large_files.json").read_text())["large_files"]
    assert entry["path"] == "models/model.pt"
    weights = (bundle / "models" / "model.pt").read_bytes()
    (hosted / "models").mkdir(parents=True)
    (bundle / "models" / "model.pt").rename(hosted / "models" / "model.pt")
    download_large_files(str(bundle))
    assert (bundle / "models" / "model.pt").read_bytes() == weights
    (bundle / "models" / "model.pt").unlink()
    (hosted / "models" / "model.pt").write_bytes(weights[:-1])
    with pytest.raises(Exception, match="sha256 hash check"):
        download_large_files(str(bundle))


def test_zip_of_the_user_is_not_replaced(packed, tmp_path, capsys):
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as mine:
        mine.writestr("mine.txt", "mine")
    arguments = ["pack", str(packed / "runs" / "unet"), str(archive), "--no_torchscript", "--overwrite"]
    assert main(arguments) == 1
    assert "was not made by condseg pack" in capsys.readouterr().err
    assert zipfile.ZipFile(archive).namelist() == ["mine.txt"]
    archive.unlink()
    assert main(arguments) == main(arguments) == 0  # the second replaces what the first packed


def test_onnx_export_of_monai_takes_the_model_s_size_from_the_metadata(packed, elsewhere):
    onnxruntime = pytest.importorskip("onnxruntime")
    bundle = packed / "unet"
    onnx_export(
        net_id="network_def",
        filepath=str(elsewhere / "model.onnx"),
        ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        use_trace=True,
        converter_kwargs={"dynamo": False},
    )
    session = onnxruntime.InferenceSession(str(elsewhere / "model.onnx"))
    assert [item.shape for item in (*session.get_inputs(), *session.get_outputs())] == [[1, 3, 32, 32], [1, 1, 32, 32]]


def triton_config(text):
    """``config.pbtxt`` as ``model_config.proto`` of tritonclient 2.73.0 has it; a field that it lacks is an error."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile((SCHEMA.parent / "triton_model_config.binpb").read_bytes())
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))
    return text_format.Parse(text, kind())


class TestExport:
    def test_torchscript_serves_other_sizes_and_batches(self, packed, tmp_path, capsys):
        """Of ConDSeg, which takes longer, docs/consumers.md exports this and ONNX."""
        path = tmp_path / "model.ts"
        assert main(["export", str(packed / "runs" / "unet"), str(path)]) == 0
        assert "torchscript, equal to the model within" in capsys.readouterr().out
        assert torch.jit.load(str(path))(torch.rand(3, 3, 48, 64)).shape == (3, 1, 48, 64)

    def test_onnx_serves_other_sizes_and_batches(self, packed, tmp_path, capsys):
        onnxruntime = pytest.importorskip("onnxruntime")
        path = tmp_path / "model.onnx"
        assert main(["export", str(packed / "runs" / "unet"), str(path)]) == 0
        session = onnxruntime.InferenceSession(str(path))
        card = json.loads(session.get_modelmeta().custom_metadata_map["model_card"])
        assert card["input"]["image_size"] == 32
        assert session.get_outputs()[0].shape == ["batch", 1, "height", "width"]
        assert session.run(None, {"image": np.zeros((2, 3, 48, 80), np.float32)})[0].shape == (2, 1, 48, 80)

    @pytest.mark.slow  # minutes for other methods, which tests/networks exports
    @pytest.mark.parametrize("method", ["unet", "condseg_stage1"])
    def test_program_of_torch_export_serves_other_sizes_and_batches(self, tmp_path, capsys, method):
        run, path = save_model(tmp_path / "run", method, image_size=64), tmp_path / "model.pt2"
        assert main(["export", str(run), str(path)]) == 0
        assert "torch_export, equal to the model within" in capsys.readouterr().out
        files = {"model_card": ""}
        program = torch.export.load(path, extra_files=files).module()
        assert json.loads(files["model_card"])["method"] == method
        images = torch.rand(3, 3, 50, 70) if method != "unet" else torch.rand(3, 3, 48, 80)
        with torch.no_grad():
            assert torch.equal(program(images), load_model(run)[2](images))

    @pytest.mark.parametrize(
        "classes", [{}, {"class_names": ORGANS, "class_values": (0, 7, 9)}], ids=["lesion", "classes"]
    )
    def test_triton_s_settings_fit_its_schema_and_the_file(self, tmp_path, classes):
        onnxruntime = pytest.importorskip("onnxruntime")
        run, folder = save_model(tmp_path / "run", "unet", **classes), tmp_path / "models" / "polyps"
        arguments = ["export", str(run), str(folder), "--format", "triton"]
        assert main(arguments) == 0
        config = triton_config((folder / "config.pbtxt").read_text())
        assert config.backend == "onnxruntime" and config.HasField("dynamic_batching") and config.max_batch_size == 8
        session = onnxruntime.InferenceSession(str(folder / "1" / "model.onnx"))
        for tensors, found in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
            (tensor,), (of_file,) = tensors, found
            assert (tensor.name, tensor.data_type, of_file.type) == (of_file.name, 11, "tensor(float)")  # TYPE_FP32
            assert list(tensor.dims) == [size if isinstance(size, int) else -1 for size in of_file.shape[1:]]
            assert of_file.shape[1] in (1, 3)
        card = json.loads(config.parameters["model_card"].string_value)
        assert card == json.loads((run / "models" / "model.json").read_text())
        assert main(arguments) == 1
        assert main([*arguments, "--overwrite"]) == 0
        assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == [
            *("1", "1/model.onnx", "config.pbtxt")
        ]

    def test_file_that_exists_and_unknown_endings_are_refused(self, packed, tmp_path, capsys):
        (tmp_path / "model.ts").write_text("mine")
        assert main(["export", str(packed / "runs" / "unet"), str(tmp_path / "model.ts")]) == 1
        assert "exists: give another path" in capsys.readouterr().err
        assert (tmp_path / "model.ts").read_text() == "mine"
        assert main(["export", str(packed / "runs" / "unet"), str(tmp_path / "model.bin")]) == 2
        assert "ends in none of .ts, .onnx, .pt2: give --format" in capsys.readouterr().err


def test_nothing_of_a_card_is_evaluated_by_a_packed_bundle(elsewhere):
    touch = f'$__import__("pathlib").Path("{elsewhere / "evaluated"}").touch()'
    names = ("background", "lesion", "tool#1")
    run = save_model(elsewhere / "run", class_names=names, class_values=(0, 1, 2), normalization=touch)
    pack_bundle(run, elsewhere / "packed", torchscript=False)
    parser = ConfigParser()
    parser.read_config(elsewhere / "packed" / "configs" / "inference.json")
    parser.read_meta(elsewhere / "packed" / "configs" / "metadata.json")
    assert tuple(parser.get_parsed_content("class_names")) == names
    assert parser.get_parsed_content("normalization") == touch
    parser.get_parsed_content("_meta_")
    assert not (elsewhere / "evaluated").exists()


@pytest.mark.parametrize(
    ("channels", "card", "names", "values", "shape"),
    [
        (3, {"normalization": "released"}, ["blue", "green", "red"], [0, 1], [32, 32]),
        (1, {}, ["image"], [-1.99, 2.44], [32, 32]),
        (1, {"kind": "ct", "class_names": SYNAPSE, "window_hu": (-100.0, 200.0)}, ["image"], [0, 1], [32, 32, "*"]),
    ],
)
def test_metadata_describes_what_the_network_takes_and_gives(elsewhere, channels, card, names, values, shape):
    run = save_model(elsewhere / "run", "unet", in_channels=channels, **card)
    pack_bundle(run, elsewhere / "packed", torchscript=False)
    metadata = json.loads((elsewhere / "packed" / "configs" / "metadata.json").read_text())
    image = metadata["network_data_format"]["inputs"]["image"]
    assert (image["num_channels"], [*image["channel_def"].values()], image["value_range"]) == (channels, names, values)
    pred = metadata["network_data_format"]["outputs"]["pred"]
    classes = list(card.get("class_names", ("background", "lesion")))
    assert [*pred["channel_def"].values()] == classes and pred["value_range"] == [0, len(classes) - 1]
    assert pred["num_channels"] == (9 if "class_names" in card else 1)
    assert image["spatial_shape"] == pred["spatial_shape"] == shape


def test_card_of_other_weights_is_not_taken_for_the_model_s(elsewhere, capsys):
    run = save_model(elsewhere / "run", "unet")
    assert main(["info", str(run)]) == 0
    torch.save({}, run / "models" / "model.pt")
    assert main(["info", str(run)]) == 1
    assert "model.json describes other weights than" in capsys.readouterr().err


def test_half_weights_are_finite(elsewhere):
    run = save_model(elsewhere / "run", "unet")
    network = load_model(run)[2]
    next(network.parameters()).data[0] = 1e6
    with pytest.raises(ValueError, match="has values beyond float16"):
        half_weights(network)


def test_scores_of_a_zip_are_not_left_in_the_folder_it_is_unpacked_to(elsewhere, tiny_dataset, capsys):
    pack_bundle(save_model(elsewhere / "run", "unet"), elsewhere / "polyps.zip", torchscript=False)
    assert main(["evaluate", "polyps.zip", str(tiny_dataset), "--device", "cpu", "--num_workers", "0"]) == 0
    assert (elsewhere / "scores" / "polyps" / "report_test.html").is_file()


def test_name_that_monai_would_evaluate_is_no_name_of_a_bundle(elsewhere):
    with pytest.raises(ValueError, match=r"destination .*%w begins with %, which MONAI's configs evaluate: rename it"):
        pack_bundle(elsewhere, elsewhere / "%w")


def test_shipped_model_keeps_its_data_and_licence(tmp_path):
    root = pack_bundle("condseg_polyp", tmp_path / "polyps", torchscript=False)
    content = json.loads((root / "configs" / "metadata.json").read_text())
    assert content["data_source"].startswith("Kvasir-SEG, ") and "research and education only" in content["licence"]
    assert "Licence: that of Kvasir-SEG" in (root / "docs" / "README.md").read_text()
    assert ModelCard.read(root / "models" / "model.json").training["licence"] == content["licence"]

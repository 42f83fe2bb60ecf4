"""Segmenter: a trained model as one Python object, equal to inference.json."""

import json
import shutil
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from condseg_monai import ConDSeg, Segmenter
from condseg_monai.data.ct.nifti import read_nifti
from condseg_monai.data.ct.volume import volume_of_slices
from condseg_monai.inference.model_files import find_model
from condseg_monai.networks.averaged import average_flips
from tests.bundle.models import save_model
from tests.ct import AFFINE, phantom, turned, write_dicom, write_nifti

NETWORK = {"in_channels": 3, "out_channels": 1, "encoder": "resnet18", "decoder_channels": 8, "cdfa": "paper"}
NETWORK |= {"cdfa_window": 3, "decoders": 3, "dilation_scale": 1.0}
RUN = {"device": "cpu", "num_workers": 0, "progress_bar": False, "batch_size": 1}
IMAGES = {
    "odd.png": np.random.default_rng(0).integers(0, 255, (37, 53, 3), dtype=np.uint8),
    "grey.png": np.random.default_rng(1).integers(0, 255, (40, 24), dtype=np.uint8),
    "sixteen.png": np.random.default_rng(2).integers(0, 65535, (24, 31), dtype=np.uint16),
    "alpha.png": np.random.default_rng(3).integers(0, 255, (20, 21, 4), dtype=np.uint8),
}
OTHER_FILES = {
    "palette.png": Image.fromarray(IMAGES["odd.png"]).quantize(16),
    "rotated.jpg": Image.fromarray(IMAGES["odd.png"]),
}
ROTATED = Image.Exif()
ROTATED[0x0112] = 6  # a quarter turn


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("run"), seed=2, threshold=0.8)  # finds a lesion in all but alpha.png


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for name, array in IMAGES.items():
        Image.fromarray(array).save(folder / name)
    for name, image in OTHER_FILES.items():
        image.save(folder / name, **({"exif": ROTATED} if name == "rotated.jpg" else {}))
    return folder


@pytest.fixture(scope="module")
def predicted(run_dir, images, tmp_path_factory, run_config):
    """What ``inference.json`` makes of the images."""
    out = tmp_path_factory.mktemp("out")
    places = {"ckpt_dir": str(run_dir / "models"), "dataset_dir": str(images), "output_dir": str(out)}
    scores = {"save_probability": "npy", "save_uncertainty": "npy", "save_overlay": True}
    run_config("inference", workflow_type="infer", **RUN, **places, **scores)
    return out


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("kind", ["path", "bytes", "array", "PIL", "tensor"])
def test_result_equals_inference_json_pixel_by_pixel(run_dir, images, predicted, name, kind):
    image = IMAGES[name]
    if kind == "tensor" and image.shape[-1] == 4:
        pytest.skip("a tensor has no alpha")
    given = {
        "path": lambda: images / name,
        "bytes": (images / name).read_bytes,
        "array": lambda: image,
        "PIL": lambda: Image.open(images / name),
        "tensor": lambda: torch.from_numpy(np.atleast_3d(image).transpose(2, 0, 1).copy()),
    }[kind]()
    result = Segmenter(run_dir, device="cpu").predict(given)
    stem = name.removesuffix(".png")
    assert result.mask.shape == image.shape[:2] and result.mask.any() == (name != "alpha.png")
    assert np.array_equal(result.mask * 255, np.asarray(Image.open(predicted / f"{stem}.png")))
    assert np.array_equal(result.probability, np.load(predicted / "probability" / f"{stem}.npy"))
    assert np.array_equal(result.uncertainty, np.load(predicted / "uncertainty" / f"{stem}.npy"))
    assert np.array_equal(np.asarray(result.overlay()), np.asarray(Image.open(predicted / "overlay" / f"{stem}.png")))
    assert result.class_names == ("background", "lesion")
    assert result.spacing_mm is result.volume_ml is None


@pytest.mark.parametrize("name", OTHER_FILES)
def test_files_with_a_palette_or_turned_equal_inference_json(run_dir, images, predicted, name):
    expected = np.asarray(Image.open(predicted / f"{Path(name).stem}.png"))
    assert expected.shape == ((53, 37) if name == "rotated.jpg" else (37, 53))
    with Image.open(images / name) as image:
        for given in (images / name, (images / name).read_bytes(), image):
            result = Segmenter(run_dir, device="cpu", batch_size=1).predict(given)
            assert np.array_equal(result.mask * 255, expected)


def test_array_of_fractions_is_the_image_divided_by_its_white(run_dir):
    segmenter = Segmenter(run_dir, device="cpu")
    expected = segmenter.predict(IMAGES["odd.png"]).probability
    found = segmenter.predict(IMAGES["odd.png"].astype(np.float64) / 255).probability
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_threshold_takes_the_place_of_the_cards(run_dir):
    result = Segmenter(run_dir, device="cpu", threshold=0.6).predict(IMAGES["odd.png"])
    assert np.array_equal(result.mask, result.probability >= 0.6)
    with pytest.raises(ValueError, match=r"threshold must be between 0 and 1, got 2"):
        Segmenter(run_dir, threshold=2)


def test_list_gives_a_list_in_its_order(run_dir, images):
    segmenter = Segmenter(run_dir, device="cpu", batch_size=3)
    results = segmenter.predict([images / name for name in IMAGES])
    assert [result.mask.shape for result in results] == [image.shape[:2] for image in IMAGES.values()]
    for result, name in zip(results, IMAGES, strict=True):
        np.testing.assert_allclose(result.probability, segmenter.predict(images / name).probability, atol=1e-5)
    assert segmenter.predict([]) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("tile_size", 1.5), ("threshold", "0.3"), ("model", None), ("device", "cud"), ("device", "meta")),
        *(("tta", "no"), ("keep_largest", "no"), ("check_values", 0)),
    ],
)
def test_wrong_argument_is_named(name, value):
    with pytest.raises((TypeError, ValueError), match=rf"^{name} must be .*, got {value!r}"):
        Segmenter(**{"model": "x.pt", name: value})


def test_images_in_memory_that_cannot_be_read_are_named_by_their_index(run_dir, images, tmp_path):
    (tmp_path / "half.png").write_bytes((images / "odd.png").read_bytes()[:500])
    segmenter = Segmenter(run_dir, device="cpu")
    tensor = torch.rand(3, 20, 20)
    bad = [tensor.to_sparse(), tensor.to("meta"), Image.new("RGB", (0, 0)), Image.open(tmp_path / "half.png")]
    for item in bad:
        with pytest.raises(ValueError, match="image"):
            segmenter.predict(item)
        with pytest.raises(ValueError, match="image 1 of the list: "):
            segmenter.predict([IMAGES["grey.png"], item])
    assert segmenter.predict(tensor.to(torch.bfloat16)).mask.shape == (20, 20)


@pytest.mark.slow
def test_model_is_a_checkpoint_a_folder_or_a_zip(run_dir, tmp_path):
    expected = Segmenter(run_dir, device="cpu").predict(IMAGES["odd.png"]).probability
    bundle = shutil.copytree(run_dir, tmp_path / "bundle")
    (bundle / "configs").mkdir()
    (bundle / "configs" / "inference.json").write_text('{"imports": "$__import__(\'os\').abort()"}')  # never read
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as archive:
        for file in ("models/model.pt", "models/model.json", "configs/inference.json"):
            archive.write(bundle / file, f"condseg/{file}")
    for model in (run_dir / "models" / "model.pt", str(bundle), bundle / "models", tmp_path / "bundle.zip"):
        assert np.array_equal(Segmenter(model, device="cpu").predict(IMAGES["odd.png"]).probability, expected)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path / "nowhere.pt", r"nowhere\.pt does not exist: give a \.pt file"),
        (lambda path: path / "othr.pt", r"othr\.pt does not exist \(did you mean .*other\.pt\?\)"),
        (lambda path: path, r"is a folder without models/model\.pt or model\.pt; there are other\.pt: give one"),
        (lambda path: path / "a.zip", "cannot be read as a zip"),
        (lambda path: path / "b.zip", r"has 0 files models/model\.pt"),
        (lambda path: path / "c.zip", r"c\.zip .* unpacks to 1000000 bytes, more than 4 times its size"),
        (lambda path: path / "a.txt", "is no checkpoint"),
    ],
)
def test_model_that_is_not_there_is_an_error_that_says_what_is(make, words, tmp_path):
    for name in ("other.pt", "a.zip", "a.txt"):
        (tmp_path / name).write_bytes(b"x")
    zipfile.ZipFile(tmp_path / "b.zip", "w").close()
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("models/model.pt", bytes(1_000_000))
    segmenter = Segmenter(make(tmp_path))  # looks at no file
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        segmenter.predict(IMAGES["odd.png"])
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        find_model(make(tmp_path))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4), bool), "must be uint8, uint16 or floating point, got bool"),
        (np.zeros((4, 4, 2), np.uint8), r"got \(4, 4, 2\) uint8"),
        (np.zeros((0, 4), np.uint8), r"got \(0, 4\) uint8"),
        (np.full((4, 4), np.nan), r"must be in \[0, 1\], got nan"),
        (np.full((4, 4), 255.0), r"must be in \[0, 1\], got 255 to 255: divide it by its white"),
        (np.full((4, 4), -1.0), r"must be in \[0, 1\], got -1"),
        (torch.zeros(4, 4), r"a tensor must be \(1, H, W\) or \(3, H, W\), got \(4, 4\)"),
        ("nowhere.png", "cannot read nowhere.png: no such file"),
        (b"nothing", "cannot read the image: not a BMP, JPEG"),
        ("scan.nii.gz", "the model segments images, and scan.nii.gz is none"),
        (".", r"the model segments images, and \. is none: give an image, or a list of them"),
        ([np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool)], "image 1 of the list: .* got bool"),
    ],
)
def test_input_that_is_no_image_is_refused(run_dir, image, words):
    with pytest.raises(ValueError, match=words):
        Segmenter(run_dir, device="cpu").predict(image)


@pytest.mark.slow
def test_threads_share_a_segmenter(run_dir):
    segmenter = Segmenter(run_dir, device="cpu")
    images = [IMAGES["odd.png"][: 20 + i] for i in range(12)]
    expected = [Segmenter(run_dir, device="cpu").predict(image).probability for image in images]
    barrier = threading.Barrier(4)

    def predict(part):
        barrier.wait()
        return [segmenter.predict(image) for image in part]

    with ThreadPoolExecutor(4) as pool:
        results = [result for part in pool.map(predict, [images[i::4] for i in range(4)]) for result in part]
    order = [i for first in range(4) for i in range(first, 12, 4)]
    for result, i in zip(results, order, strict=True):
        assert np.array_equal(result.probability, expected[i])


def test_tta_is_the_mean_over_flips(run_dir, images, run_config, tmp_path):
    plain, flipped = Segmenter(run_dir, device="cpu"), Segmenter(run_dir, device="cpu", tta=True)
    image = np.ascontiguousarray(IMAGES["odd.png"][:32, :32])  # at the network's size nothing is interpolated
    result = flipped.predict(image)
    flips = [(), (1,), (0,), (0, 1)]
    mean = np.mean([np.flip(plain.predict(np.flip(image, d).copy()).probability, d) for d in flips], axis=0)
    np.testing.assert_allclose(result.probability, mean, atol=1e-5)
    assert result.uncertainty.shape == image.shape[:2]
    out = tmp_path / "out"
    places = {"ckpt_dir": str(run_dir / "models"), "dataset_dir": str(images / "odd.png"), "output_dir": str(out)}
    run_config("inference", workflow_type="infer", **RUN, **places, save_probability="npy", tta=True)
    written = np.load(out / "probability" / "odd.npy")
    np.testing.assert_allclose(flipped.predict(images / "odd.png").probability, written, atol=1e-6)


@pytest.mark.slow
def test_ensemble_is_the_mean_of_models_that_each_see_their_own_size(run_dir, tmp_path):
    other = save_model(tmp_path / "other", seed=1, threshold=0.8, image_size=64, normalization="released")
    both = [Segmenter(model, device="cpu").predict(IMAGES["odd.png"]) for model in (run_dir, other)]
    result = Segmenter([run_dir, other], device="cpu").predict(IMAGES["odd.png"])
    mean = np.mean([one.probability for one in both], axis=0)
    np.testing.assert_allclose(result.probability, mean, atol=1e-6)
    np.testing.assert_allclose(result.uncertainty, np.mean([one.uncertainty for one in both], axis=0), atol=1e-6)
    assert np.array_equal(result.mask, result.probability >= 0.8)


def test_ensemble_of_one_is_the_model(run_dir):
    one, alone = (Segmenter(model, device="cpu").predict(IMAGES["odd.png"]) for model in ([run_dir], run_dir))
    assert np.array_equal(one.probability, alone.probability) and np.array_equal(one.uncertainty, alone.uncertainty)


def test_ensemble_of_a_network_without_regions_has_no_uncertainty(run_dir, tmp_path):
    unet = save_model(tmp_path / "unet", "unet", threshold=0.8)
    assert Segmenter([run_dir, unet], device="cpu").predict(IMAGES["odd.png"]).uncertainty is None


def test_models_that_segment_otherwise_are_no_ensemble(run_dir, tmp_path):
    third = save_model(tmp_path / "third", threshold=0.5)
    with pytest.raises(
        ValueError, match=r"threshold 0\.5, but .* 0\.8: an ensemble is of models that segment the same"
    ):
        Segmenter([run_dir, third]).predict(IMAGES["odd.png"])
    assert Segmenter([run_dir, third], device="cpu", threshold=0.5).predict(IMAGES["odd.png"]).mask.shape == (37, 53)
    with pytest.raises(ValueError, match="got an empty list"):
        Segmenter([]).predict(IMAGES["odd.png"])


def test_large_images_are_seen_in_tiles(run_dir):
    image = np.tile(IMAGES["odd.png"], (2, 2, 1))
    tiled = Segmenter(run_dir, device="cpu", tile_size=40, overlap=0.5).predict(image)
    assert tiled.mask.shape == tiled.probability.shape == tiled.uncertainty.shape == image.shape[:2]
    first = Segmenter(run_dir, device="cpu").predict(image[:40, :40].copy())
    np.testing.assert_allclose(tiled.probability[:4, :4], first.probability[:4, :4], atol=1e-4)  # seen by one tile
    small = Segmenter(run_dir, device="cpu", tile_size=200).predict(image)
    assert np.array_equal(small.probability, Segmenter(run_dir, device="cpu").predict(image).probability)


def test_networks_see_one_batch_of_tiles_at_a_time(run_dir, monkeypatch):
    seen = []
    forward = ConDSeg.predict_regions
    monkeypatch.setattr(ConDSeg, "predict_regions", lambda self, x: seen.append(tuple(x.shape)) or forward(self, x))
    image = np.tile(IMAGES["odd.png"], (4, 4, 1))
    Segmenter(run_dir, device="cpu", tile_size=40, overlap=0, batch_size=3).predict(image)
    assert set(seen) <= {(n, 3, 32, 32) for n in (1, 2, 3)} and len(seen) > 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_probabilities(run_dir):
    image = IMAGES["odd.png"]
    on_cpu, on_gpu = (
        Segmenter(run_dir, device=device, precision="float32").predict(image) for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(on_gpu.probability, on_cpu.probability, atol=1e-3)


@pytest.mark.parametrize("value", ["$__import__('os').abort()", "$@model", "%x#y"])
def test_nothing_in_a_model_card_is_evaluated(tmp_path, value):
    run = save_model(tmp_path, class_names=("background", "polyp"), normalization=value)
    with pytest.raises(ValueError, match="normalization must be"):
        Segmenter(run, device="cpu").predict(IMAGES["odd.png"])


def test_mask_is_saved_as_inference_does_and_never_over_a_file(run_dir, images, predicted, tmp_path):
    result = Segmenter(run_dir, device="cpu").predict(images / "odd.png")
    path = result.save(tmp_path / "mask.png")
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(predicted / "odd.png")))
    with pytest.raises(FileExistsError, match=r"mask\.png exists"):
        result.save(path)
    result.save(path, overwrite=True)
    with pytest.raises(ValueError, match=r"must end in \.png"):
        result.save(tmp_path / "mask.nii.gz")


def test_volume_equals_inference_synapse_json(run_config, tmp_path):
    names = ("background", "liver", "spleen")
    run = save_model(tmp_path / "ct", kind="ct", class_names=names, window_hu=(-125.0, 275.0))
    scan = np.random.default_rng(0).integers(-200, 300, (18, 20, 3)).astype(np.int16)
    scan[0, 0, 0] = -1000
    affine = np.diag([2.0, 1.5, 4.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(scan, affine), tmp_path / "scan.nii.gz")
    places = {"ckpt_dir": str(run / "models"), "output_dir": str(tmp_path / "out")}
    source = str(tmp_path / "scan.nii.gz")
    run_config(
        "inference_synapse", workflow_type="infer", device="cpu", progress_bar=False, **places, dataset_dir=source
    )
    expected = np.asarray(nibabel.load(tmp_path / "out" / "scan.nii.gz").dataobj)
    segmenter = Segmenter(run, device="cpu")
    result = segmenter.predict(tmp_path / "scan.nii.gz")
    assert np.array_equal(result.mask, expected) and len(np.unique(expected)) > 1
    assert result.spacing_mm == pytest.approx((2, 1.5, 4))
    assert result.class_names == names
    assert result.volume_ml == pytest.approx({n: (expected == i + 1).sum() * 0.012 for i, n in enumerate(names[1:])})
    for name in ("label.nii.gz", "label.nii"):
        result.save(tmp_path / name)
        assert np.array_equal(np.asarray(nibabel.load(tmp_path / name).dataobj), expected)
    with ThreadPoolExecutor(4) as pool:
        masks = list(pool.map(lambda _: segmenter.predict(tmp_path / "scan.nii.gz").mask, range(4)))
    assert all(np.array_equal(mask, expected) for mask in masks)
    with pytest.raises(ValueError, match="needs a NIfTI file or the folder of a DICOM series"):
        segmenter.predict(scan)
    with pytest.raises(ValueError, match="drawn on an image"):
        result.overlay()


@pytest.mark.slow
def test_ensemble_of_volumes_is_the_mean_of_models_that_each_see_their_own_size(tmp_path):
    image, _ = phantom()
    scan = write_nifti(tmp_path / "scan.nii.gz", *turned(image, AFFINE, "SPL"))
    names = ("background", "liver", "spleen")
    card = {"kind": "ct", "class_names": names, "window_hu": (-125.0, 275.0)}
    runs = [save_model(tmp_path / str(seed), seed=seed, image_size=32 * (seed + 1), **card) for seed in (0, 1)]
    ensemble = Segmenter(runs, device="cpu", batch_size=4)
    volume, sums = read_nifti(scan), []
    for run in runs:
        (pipeline,) = Segmenter(run, device="cpu", batch_size=4)._pipelines
        scores = {}
        pipeline.inferer(volume, pipeline.network, on_probability=scores.__setitem__)
        sums.append(np.stack([scores[i] for i in sorted(scores)]))
    expected = volume_of_slices((sums[0] + sums[1]).argmax(axis=3), volume.affine)
    found = ensemble.predict(scan).mask
    assert np.array_equal(found, expected) and len(np.unique(found)) > 1


def test_dicom_series_becomes_dicom_seg(tmp_path):
    pydicom, _ = pytest.importorskip("pydicom"), pytest.importorskip("highdicom")
    image, _ = phantom()
    write_dicom(tmp_path / "series", image, AFFINE)
    card = {"kind": "ct", "class_names": ("background", "liver", "spleen"), "window_hu": (-125.0, 275.0)}
    segmenter = Segmenter(save_model(tmp_path / "run", **card), device="cpu", keep_largest=True)
    result = segmenter.predict(tmp_path / "series")
    assert result.mask.shape == result.volume.array.shape
    written = pydicom.dcmread(result.save(tmp_path / "label.dcm"))
    assert written.Modality == "SEG" and [item.SegmentLabel for item in written.SegmentSequence] == ["liver", "spleen"]


def test_values_that_are_no_hounsfield_units_are_refused_unless_asked(tmp_path):
    scan = write_nifti(tmp_path / "scan.nii.gz", np.ones((16, 16, 3), np.int16), AFFINE)
    run = save_model(tmp_path / "run", kind="ct", class_names=("background", "liver"), window_hu=(-125.0, 275.0))
    with pytest.raises(ValueError, match="not Hounsfield units"):
        Segmenter(run, device="cpu").predict(scan)
    assert Segmenter(run, device="cpu", check_values=False).predict(scan).mask.shape == (16, 16, 3)


def test_network_averaged_over_flips_has_regions_if_the_network_has():
    assert hasattr(average_flips(ConDSeg(**NETWORK)), "predict_regions")
    several = average_flips(torch.nn.Conv2d(3, 4, 1))
    assert not hasattr(several, "predict_regions")
    assert several(torch.rand(2, 3, 8, 8)).softmax(1).sum(1).allclose(torch.ones(2, 8, 8))


def test_card_of_another_schema_is_named(run_dir, tmp_path):
    shutil.copytree(run_dir, tmp_path / "run")
    path = tmp_path / "run" / "models" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    with pytest.raises(ValueError, match="has version 99 of the model card"):
        _ = Segmenter(tmp_path / "run").card

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged, SaveImaged
from PIL import Image

from condseg_monai import ConDSeg
from condseg_monai.data.images.image_reader import read_natural_image
from condseg_monai.data.images.normalization import normalize_image
from condseg_monai.reports.drawing import draw_overlay

RED_NETWORK = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 1}


@pytest.fixture(scope="module")
def red_checkpoint(tmp_path_factory):
    """A network that finds bright red in BGR pictures in [0, 1]: the pipeline alone decides what comes out."""
    folder = tmp_path_factory.mktemp("red")
    weight = torch.zeros(1, 3, 1, 1)
    weight[0, 2] = 20.0
    torch.save({"weight": weight, "bias": torch.tensor([-10.0])}, folder / "model.pt")
    return folder


@pytest.fixture(scope="module")
def condseg_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("condseg")
    torch.manual_seed(0)
    torch.save(ConDSeg(encoder="resnet18", decoder_channels=16).state_dict(), folder / "model.pt")
    return folder


@pytest.fixture
def options(tmp_path, red_checkpoint):
    return {
        "dataset_dir": str(tmp_path / "in"),
        "output_dir": str(tmp_path / "out"),
        "ckpt_dir": str(red_checkpoint),
        "network_def": RED_NETWORK,
        "normalization": "released",
        "image_size": 64,
        "device": "cpu",
        "num_workers": 0,
        "progress_bar": False,
    }


@pytest.fixture
def condseg_options(options, condseg_checkpoint):
    rest = {key: value for key, value in options.items() if key not in ("network_def", "normalization")}
    return {
        **rest,
        "ckpt_dir": str(condseg_checkpoint),
        "encoder": "resnet18",
        "decoder_channels": 16,
        "image_size": 32,
    }


def letter(height: int, width: int) -> np.ndarray:
    """A thick F: neither transposition, nor any flip, nor a half turn leaves it as it is."""
    mask = np.zeros((height, width), dtype=bool)
    bar = max(4, min(height, width) // 6)
    mask[bar:-bar, bar : 2 * bar] = True
    mask[bar : 2 * bar, bar:-bar] = True
    mask[3 * bar : 4 * bar, bar : width // 2] = True
    return mask


def picture(mask: np.ndarray) -> np.ndarray:
    """The mask in red on blue."""
    return np.where(mask[..., None], (250, 20, 30), (10, 40, 240)).astype(np.uint8)


def write(folder, name: str, image: np.ndarray, **kwargs) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.ascontiguousarray(image)).save(folder / name, **kwargs)


def iou(pred: np.ndarray, target: np.ndarray) -> float:
    return float((pred & target).sum() / (pred | target).sum())


def written_mask(tmp_path, stem: str) -> np.ndarray:
    mask = np.asarray(Image.open(tmp_path / "out" / f"{stem}.png"))
    assert mask.dtype == np.uint8 and mask.ndim == 2 and set(np.unique(mask)) <= {0, 255}
    return mask == 255


def outputs(tmp_path) -> set[str]:
    out = tmp_path / "out"
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.suffix != ".lock"}


class TestProperties:
    def test_all_are_where_monai_looks_even_without_data_and_checkpoint(self, open_config, tmp_path):
        workflow = open_config(
            "inference", workflow_type="infer", dataset_dir=str(tmp_path / "no"), ckpt_dir=str(tmp_path / "no")
        )
        workflow.initialize()
        assert workflow.check_properties() == []

    def test_consumers_find_transforms_they_recognise(self, open_config, options):
        workflow = open_config("inference", workflow_type="infer", **options)
        workflow.initialize()
        pre, post = workflow.preprocessing, workflow.postprocessing
        assert isinstance(pre, Compose) and isinstance(post, Compose)
        assert isinstance(pre.transforms[0], LoadImaged)
        writers = [transform for transform in post.transforms if isinstance(transform, SaveImaged)]
        assert writers == [post.transforms[-1]]

    def test_transforms_work_without_loading_and_saving(self, open_config, options):
        """As an application does that has the image in memory, (H, W, C), and wants the mask back."""
        workflow = open_config("inference", workflow_type="infer", **options)
        workflow.initialize()
        mask = letter(40, 56)
        pre, post = Compose(workflow.preprocessing.transforms[1:]), Compose(workflow.postprocessing.transforms[:-1])
        for transform in post.transforms:
            if hasattr(transform, "transform"):
                transform.transform = pre
        image = MetaTensor(torch.from_numpy(picture(mask)).float(), meta={"original_channel_dim": -1})
        data = pre({"image": image})
        network = torch.nn.Conv2d(3, 1, 1)
        network.load_state_dict(torch.load(f"{options['ckpt_dir']}/model.pt", weights_only=True))
        with torch.no_grad():
            data["pred"] = workflow.inferer(data["image"][None], network)[0]
        assert iou(post(data)["pred"][0].numpy() == 1, mask) > 0.85


class TestGeometry:
    @pytest.mark.parametrize("size", [(48, 80), (90, 40), (64, 64), (33, 47)])
    def test_mask_comes_back_in_place_and_size(self, run_config, options, tmp_path, size):
        target = letter(*size)
        write(tmp_path / "in", "f.png", picture(target))
        run_config("inference", workflow_type="infer", **options)
        mask = written_mask(tmp_path, "f")
        assert mask.shape == size
        assert iou(mask, target) > 0.85
        assert max(iou(mask[::-1], target), iou(mask[:, ::-1], target), iou(mask[::-1, ::-1], target)) < 0.6

    @pytest.mark.parametrize("orientation", [3, 6])
    def test_turned_photograph_gives_an_upright_mask(self, run_config, options, tmp_path, orientation):
        target = letter(48, 80)
        exif = Image.Exif()
        exif[274] = orientation
        stored = np.rot90(picture(target), {3: 2, 6: 1}[orientation])
        write(tmp_path / "in", "f.JPG", stored, exif=exif, quality=95)
        run_config("inference", workflow_type="infer", **options)
        assert iou(written_mask(tmp_path, "f"), target) > 0.85

    def test_every_kind_of_file_gives_the_same_mask(self, run_config, options, tmp_path):
        target = letter(48, 80)
        image = Image.fromarray(picture(target))
        folder = tmp_path / "in"
        folder.mkdir()
        image.save(folder / "rgb.bmp")
        image.save(folder / "two words.TIFF")
        image.save(folder / "\u00e9\u4e2d.webp", lossless=True)
        image.convert("RGBA").save(folder / "rgba.png")
        image.quantize(4).save(folder / "palette.png")
        image.convert("CMYK").save(folder / "cmyk.v2.jpg", quality=95)
        run_config("inference", workflow_type="infer", **options)
        for stem in ("rgb", "two words", "\u00e9\u4e2d", "rgba", "palette", "cmyk.v2"):
            assert iou(written_mask(tmp_path, stem), target) > 0.85, stem

    def test_probabilities_are_interpolated_before_the_threshold(self, run_config, options, tmp_path):
        write(tmp_path / "in", "f.png", picture(letter(90, 130)))
        run_config("inference", workflow_type="infer", **options, save_probability="npy")
        probability = np.load(tmp_path / "out" / "probability" / "f.npy")
        assert probability.shape == (90, 130) and probability.dtype == np.float32
        assert ((probability > 0.05) & (probability < 0.95)).mean() > 0.02
        np.testing.assert_array_equal(written_mask(tmp_path, "f"), probability >= 0.5)


class TestOutputs:
    def test_masks_alone_by_default(self, run_config, options, tmp_path):
        for name in ("a.png", "b.png"):
            write(tmp_path / "in", name, picture(letter(30, 40)))
        run_config("inference", workflow_type="infer", **options)
        assert outputs(tmp_path) == {"a.png", "b.png", "inference.json"}

    def test_probability_and_uncertainty_are_the_network_s(self, run_config, condseg_options, tmp_path):
        rng = np.random.default_rng(0)
        for i in range(3):
            write(tmp_path / "in", f"{i}.png", rng.integers(0, 256, (30 + 4 * i, 40, 3), dtype=np.uint8))
        workflow = run_config(
            "inference",
            workflow_type="infer",
            **condseg_options,
            batch_size=2,
            save_probability="npy",
            save_uncertainty="npy",
        )
        network = workflow.network_def.eval()
        for i in range(3):
            image = torch.from_numpy(read_natural_image(tmp_path / "in" / f"{i}.png")).permute(2, 0, 1)[None] / 255
            x = normalize_image(torch.nn.functional.interpolate(image, (32, 32), mode="bilinear"))
            with torch.no_grad():
                mask, regions = network.predict_regions(x)
            for folder, expected in (("probability", mask.sigmoid()), ("uncertainty", regions[:, 2:])):
                written = np.load(tmp_path / "out" / folder / f"{i}.npy")
                large = torch.nn.functional.interpolate(expected, image.shape[2:], mode="bilinear")[0, 0]
                np.testing.assert_allclose(written, large.numpy(), atol=1e-4)

    def test_png_holds_the_same_in_255_steps(self, run_config, condseg_options, tmp_path):
        write(tmp_path / "in", "a.png", picture(letter(30, 40)))
        for kind, out in (("npy", "out"), ("png", "png")):
            options = {**condseg_options, "output_dir": str(tmp_path / out)}
            run_config("inference", workflow_type="infer", **options, save_probability=kind, save_uncertainty=kind)
        for folder in ("probability", "uncertainty"):
            exact = np.load(tmp_path / "out" / folder / "a.npy")
            rounded = np.asarray(Image.open(tmp_path / "png" / folder / "a.png"))
            assert rounded.dtype == np.uint8
            np.testing.assert_allclose(rounded / 255, exact, atol=0.5 / 255 + 1e-6)

    def test_grad_cam_has_the_image_s_size_and_its_folder(self, run_config, condseg_options, tmp_path):
        write(tmp_path / "in", "a.png", picture(letter(30, 40)))
        maps = {"save_gradcam": "npy", "gradcam_layer": "cdfas.0"}
        run_config("inference", workflow_type="infer", **condseg_options, **maps)
        written = np.load(tmp_path / "out" / "gradcam" / "cdfas.0" / "a.npy")
        assert written.shape == (30, 40) and 0.5 < written.max() <= 1 and written.min() >= 0

    def test_overlay_is_the_mask_on_the_image(self, run_config, options, tmp_path):
        image = picture(letter(60, 80))
        write(tmp_path / "in", "a.png", image)
        run_config("inference", workflow_type="infer", **options, save_overlay=True)
        overlay = np.asarray(Image.open(tmp_path / "out" / "overlay" / "a.png"))
        np.testing.assert_array_equal(overlay, draw_overlay(image, written_mask(tmp_path, "a")))
        assert outputs(tmp_path) == {"a.png", "overlay/a.png", "inference.json"}

    def test_list_of_a_data_set_is_a_source(self, run_config, options, tiny_dataset, tmp_path):
        run_config("inference", workflow_type="infer", **{**options, "dataset_dir": str(tiny_dataset / "test.txt")})
        assert outputs(tmp_path) == {"test_0.png", "test_1.png", "inference.json"}


class TestInterruptions:
    def test_bad_files_do_not_cost_the_others(self, run_config, options, tmp_path):
        for name in ("a.png", "z.png"):
            write(tmp_path / "in", name, picture(letter(30, 40)))
        (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a photograph")
        with pytest.raises(RuntimeError) as raised:
            run_config("inference", workflow_type="infer", **options)
        assert "1 of 3 cases have no mask" in str(raised.value.__cause__ or raised.value)
        assert outputs(tmp_path) == {"a.png", "z.png", "inference.json"}
        failed = json.loads((tmp_path / "out" / "inference.json").read_text())["failed"]
        assert list(failed) == [str(tmp_path / "in" / "broken.jpg")]

    def test_output_that_is_not_finite_is_no_mask(self, run_config, options, tmp_path):
        """A comparison with NaN is false, so that it would be background."""
        write(tmp_path / "in", "black.png", np.zeros((30, 40, 3), np.uint8))
        write(tmp_path / "in", "white.png", np.full((30, 40, 3), 255, np.uint8))
        torch.save({"weight": torch.full((1, 3, 1, 1), 3e38), "bias": torch.tensor([-10.0])}, tmp_path / "model.pt")
        with pytest.raises(RuntimeError) as raised:
            run_config("inference", workflow_type="infer", **{**options, "ckpt_dir": str(tmp_path)})
        text = str(raised.value.__cause__ or raised.value)
        assert "1 of 2 cases have no mask" in text and "white.png: ValueError: the network's output is not" in text
        assert outputs(tmp_path) == {"black.png", "inference.json"}

    def test_existing_masks_are_kept_unless_overwritten(self, run_config, options, tmp_path):
        for name in ("a.png", "b.png"):
            write(tmp_path / "in", name, picture(letter(30, 40)))
        run_config("inference", workflow_type="infer", **options)
        mask = tmp_path / "out" / "a.png"
        whole, written = mask.read_bytes(), mask.stat().st_mtime_ns
        (tmp_path / "out" / "b.png").unlink()
        run_config("inference", workflow_type="infer", **options)
        assert mask.stat().st_mtime_ns == written and (tmp_path / "out" / "b.png").is_file()
        run_config("inference", workflow_type="infer", **options)  # nothing left to do
        assert mask.stat().st_mtime_ns == written
        mask.write_bytes(b"mine")
        with pytest.raises(RuntimeError) as raised:
            run_config("inference", workflow_type="infer", **options)
        assert "a.png is there already and was changed since it was written" in str(raised.value.__cause__)
        assert mask.read_bytes() == b"mine"
        run_config("inference", workflow_type="infer", **options, overwrite=True)
        assert mask.read_bytes() == whole

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"ckpt_dir": "nowhere"}, "train it with train_stage1.json"),
            ({"dataset_dir": "nowhere"}, "not a folder"),
            ({"save_probability": "jpg"}, "save_probability must be one of"),
        ],
    )
    def test_what_cannot_work_stops_before_anything_is_written(self, run_config, options, tmp_path, change, words):
        write(tmp_path / "in", "a.png", picture(letter(30, 40)))
        with pytest.raises(RuntimeError) as raised:
            run_config("inference", workflow_type="infer", **{**options, **change})
        assert words in f"{raised.value} {raised.value.__cause__}"
        assert not (tmp_path / "out").exists() or outputs(tmp_path) == set()

    def test_real_images_come_back_at_their_own_sizes(self, run_config, condseg_options, tmp_path, real_data):
        images = real_data / "polyp-original-size" / "images"
        extra = {"save_probability": "npy", "save_uncertainty": "png", "save_overlay": "yes"}
        run_config(
            "inference",
            workflow_type="infer",
            **{**condseg_options, **extra, "dataset_dir": str(images)},
        )
        sizes = {path.stem: Image.open(path).size for path in images.iterdir()}
        assert len(sizes) >= 5 and len(set(sizes.values())) > 1
        for stem, (width, height) in sizes.items():
            mask, probability = written_mask(tmp_path, stem), np.load(tmp_path / "out" / "probability" / f"{stem}.npy")
            assert mask.shape == probability.shape == (height, width)
            assert np.array_equal(mask, probability >= 0.5)
            for folder in ("uncertainty", "overlay"):
                assert Image.open(tmp_path / "out" / folder / f"{stem}.png").size == (width, height)


def test_masks_of_sub_folders_keep_their_places(run_config, options, tmp_path):
    for name in ("a/x.png", "a/b/x.png", "c/y.png", ".hidden/z.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "in" / Path(name).parent, Path(name).name, picture(letter(30, 40)))
    (tmp_path / "in" / "c" / "loop").symlink_to(tmp_path / "in")
    run_config("inference", workflow_type="infer", **options, save_overlay=True)
    names = ("a/x.png", "a/b/x.png", "c/y.png")
    assert outputs(tmp_path) == {"inference.json", *names, *(f"overlay/{name}" for name in names)}
    run_config("inference", workflow_type="infer", **options, save_overlay=True)  # all are kept
    record = json.loads((tmp_path / "out" / "inference.json").read_text())
    assert len(record["kept"]) == 3 and record["segmented"] == []

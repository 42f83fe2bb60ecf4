import json
import re
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

import condseg_monai
from bundle.config_source.build import OPTIONS_PAGE, build, options_page
from condseg_monai.utils.options import OPTIONS

CONFIGS = Path(__file__).resolve().parents[2] / "bundle" / "configs"
TRAINING = ("train", "train_stage1", "train_stage2")
SEMI_SUPERVISED = "train_dec_seg"
INFERENCE = ("inference", "inference_synapse", "inference_ct")
BASES = (*TRAINING, SEMI_SUPERVISED, *INFERENCE)
OVERLAYS = {
    "evaluate": (*TRAINING, SEMI_SUPERVISED),
    "med_disseg": ("train_stage1", "train_stage2"),
    "multi_gpu_train": TRAINING,
    "preset_recommended": TRAINING,
    "preset_released": TRAINING,
    "synapse": TRAINING,
    "multi_gpu_inference": ("inference", "inference_synapse"),
    "multi_gpu_semi_supervised": (SEMI_SUPERVISED,),
    "semi_supervised_condseg": (SEMI_SUPERVISED,),
    "condseg_baseline": ("train", "train_stage2"),
    "flexible_unet": ("train", "train_stage2"),
    "unet": ("train", "train_stage2"),
    "unet_plus_plus": ("train", "train_stage2"),
    "attention_unet": ("train", "train_stage2"),
    "without_cr": ("train_stage1",),
}
PAIRS = [(base, overlay) for overlay, bases in OVERLAYS.items() for base in bases]
COMBINATIONS = [*((base,) for base in BASES), *PAIRS]


def read(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / f"{name}.json").read_text())


def merged(*names: str) -> ConfigParser:
    """Config files as MONAI reads one after the other."""
    return ConfigParser(ConfigParser.load_config_files([str(CONFIGS / f"{name}.json") for name in names]))


def strings(value: Any) -> list[str]:
    """Every string in a config, keys left out."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def references(config: Any) -> set[str]:
    return {match.replace("#", "::") for text in strings(config) for match in re.findall(r"@([\w#:]+)", text)}


def unknown_keys(base: dict[str, Any], overlay: dict[str, Any]) -> list[str]:
    """Keys of an overlay that change nothing: neither in the base, nor read by the overlay, nor an argument."""
    parser, used = ConfigParser(base), references(overlay)
    unknown = []
    for key in overlay:
        name = key.removeprefix("+").replace("#", "::")
        parent = parser.get(name.rpartition("::")[0], {})
        is_argument = (
            "::" in name and isinstance(parent, dict) and "_target_" in parent
        )  # its class refuses a wrong one
        if name not in parser and name not in used and not is_argument:
            unknown.append(key)
    return unknown


def test_committed_configs_are_those_built_from_the_source():
    found = {path.stem: path.read_text(encoding="utf-8") for path in CONFIGS.glob("*.json") if path.stem != "metadata"}
    assert found == {name: build(name) for name in (*BASES, *OVERLAYS)}, "run bundle/config_source/build.py"


@pytest.mark.parametrize(("base", "overlay"), PAIRS)
def test_overlay_changes_only_what_the_base_has(base, overlay):
    assert unknown_keys(read(base), read(overlay)) == []


def test_misspelt_overlay_keys_are_found():
    overlay = {"epoch": 3, "validate#datset#data": [], "train#handler": [], "train#dataset#data": []}
    assert unknown_keys(read("train"), overlay) == ["epoch", "validate#datset#data", "train#handler"]


@pytest.mark.parametrize("name", [*BASES, *OVERLAYS])
def test_references_exist(name):
    parser = merged(OVERLAYS[name][0], name) if name in OVERLAYS else merged(name)
    config = parser.get()
    # @datalists['train'] and @network_def.encoder end in Python, not in the config
    assert [ref for ref in references(config) if ref not in parser] == []


@pytest.mark.parametrize("name", [*BASES, *OVERLAYS])
def test_targets_of_this_package_are_public(name):
    used = {match for text in strings(read(name)) for match in re.findall(r"condseg_monai\.([\w.]+)", text)}
    assert used or name.startswith(("multi_gpu", "preset", "unet"))
    assert used <= set(condseg_monai.__all__)


def test_page_of_options_is_that_of_the_documentation():
    assert OPTIONS_PAGE.read_text(encoding="utf-8") == options_page(), "run bundle/config_source/build.py"


@pytest.mark.parametrize("files", COMBINATIONS, ids="+".join)
def test_every_option_is_read_before_a_run_and_flags_are_used_as_read(files):
    parser = merged(*files)
    config = parser.get()
    assert "$condseg_monai.prepare_run(@options)" in parser["initialize"]
    assert "$condseg_monai.prepare_process()" in parser["initialize"]
    parser["progress_bar"] = "no"
    options = parser.get_parsed_content("options")
    assert options["progress_bar"] is False
    assert json.loads(json.dumps(options)) == options
    plain = {name for name, value in config.items() if value is None or isinstance(value, (bool, int, float))}
    assert plain <= options.keys() <= OPTIONS.keys()
    flags = {name for name in options if OPTIONS[name].kind == "flag"}
    used = references({key: value for key, value in config.items() if key != "options"})
    assert used & flags == set()


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(("device", "mixed"), [("cpu", False), ("cuda:0", True), (None, True)])
def test_mixed_precision_follows_the_device_and_not_the_machine(name, device, mixed, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    parser = merged(name)
    if device is not None:
        parser["device"] = device
    assert parser.get_parsed_content("options")["precision"] == ("float16" if mixed else "float32")


def test_defaults_are_those_of_the_paper_and_the_release():
    stage1, stage2 = read("train_stage1"), read("train_stage2")
    expected = {
        "image_size": 256,
        "batch_size": 4,
        "learning_rate": 1e-4,
        "epochs": 300,
        "early_stop_patience": 100,
        "lr_schedule": "plateau",
        "lambda_ce": 1.0,
        "plateau_patience": 30,
        "mask_threshold": None,
        "class_names": None,
        "channels": 3,
        "check_data": True,
        "normalization": "imagenet",
        "encoder": "resnet50",
        "optimizer_name": "adam",
        "weight_decay": 0.0,
        "gradient_clip": None,
    }
    for config in (stage1, stage2):
        assert {key: config[key] for key in expected} == expected
    assert (stage1["encoder_learning_rate"], stage2["encoder_learning_rate"]) == (1e-4, 1e-5)
    assert (stage2["cdfa"], stage2["decoder_channels"]) == ("paper", 128)


def test_semi_supervised_defaults_are_the_released_ones():
    config = read(SEMI_SUPERVISED)
    expected = {"image_size": 352, "batch_size": 6, "learning_rate": 0.01, "poly_power": 0.9, "rampup_epochs": 0}
    assert {key: config[key] for key in expected} == expected
    assert {key: config[f"{key}_weight"] for key in ("scale", "perturbation", "generative")} == dict.fromkeys(
        ("scale", "perturbation", "generative"), 1.0
    )
    assert (config["optimizer_name"], config["momentum"], config["weight_decay"]) == ("sgd", 0.9, 1e-4)


@pytest.mark.parametrize(
    "files",
    [
        ("train_stage1",),
        ("train_stage2",),
        ("train_stage1", "med_disseg"),
        ("train_stage2", "med_disseg"),
        ("train_stage2", "condseg_baseline"),
        ("train_stage2", "flexible_unet"),
        ("train_stage2", "unet"),
        ("train_stage2", "unet_plus_plus"),
        ("train_stage2", "attention_unet"),
        ("train_dec_seg", "semi_supervised_condseg"),
    ],
    ids="+".join,
)
def test_every_loss_of_a_mask_takes_the_options_of_its_cross_entropy(files):
    parser = merged(*files)
    assert (parser.get("lambda_ce"), parser.get("class_balance")) == (1.0, 0.0)
    parser["lambda_ce"], parser["class_balance"] = 0.25, 0.5
    losses = [vars(module) for module in parser.get_parsed_content("loss").modules()]
    mask = next(loss for loss in losses if "lambda_ce" in loss)
    assert (mask["lambda_ce"], mask.get("class_balance", mask.get("balance"))) == (0.25, 0.5)


@pytest.mark.parametrize("files", [("train_stage1",), ("train_stage1", "med_disseg")], ids="+".join)
def test_consistency_takes_its_options(files):
    parser = merged(*files)
    assert (parser["consistency_kind"], parser["consistency_threshold"], parser["view_passes"]) == ("bce", 0.5, 1)
    parser["consistency_kind"], parser["consistency_threshold"], parser["view_passes"] = "js", 0.7, 2
    loss = parser.get_parsed_content("stage_loss")
    assert (loss.kind, loss.threshold) == ("js", 0.7)
    assert parser.get_parsed_content("train#inferer").passes == 2


def test_med_disseg_trains_on_slices_of_ct_by_both_overlays():
    parser = merged("train_stage2", "synapse", "med_disseg")
    parser["encoder_weights"], parser["dataset_dir"] = None, "."
    network, loss = (parser.get_parsed_content(name) for name in ("network_def", "loss"))
    assert (type(network).__name__, type(loss).__name__) == ("MedDisSeg", "MedDisSegLoss")
    assert parser.get_parsed_content("model").network["out_channels"] == 9


def test_overlays_count_no_positions():
    for name in OVERLAYS:
        assert not [key for key in read(name) if re.search(r"#\d", key)]


@pytest.mark.parametrize("files", [files for files in COMBINATIONS if files[0] not in INFERENCE], ids="+".join)
def test_batches_are_pinned_for_cuda_alone_and_copied_without_waiting(files):
    for device in ("cpu", "cuda:1"):
        parser = merged(*files)
        parser["device"] = device
        for part in ("train",) if "evaluate" in files else ("train", "validate"):
            assert parser.get_parsed_content(f"{part}#dataloader#pin_memory") == (device != "cpu")
    config = parser.get()
    assert all(
        config[part][engine]["non_blocking"] for part, engine in (("train", "trainer"), ("validate", "evaluator"))
    )

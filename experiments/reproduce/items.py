"""The tables and figures, and the rows of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from condseg_monai.cli.workflows import read_configs
from experiments.reproduce import pictures
from experiments.reproduce.trainings import Plan, Row

__all__ = ["ITEMS", "Item"]


class Item(NamedTuple):
    """A table or figure.

    Attributes:
        title: with the paper's number.
        rows: by name.
        draw: makes its picture from the rows that are trained.
        x: what the names of the rows are, of a sweep.
        kind: ``"scores"`` of images; ``"speed"``, of networks without training; or ``"volumes"``, of CT.
    """

    title: str
    rows: Mapping[str, Row]
    draw: Callable[[Mapping[str, Row], Plan, Sequence[int], str], Any] | None = None
    x: str = ""
    kind: str = "scores"


def _sweep(title: str, option: str, values: Sequence[Any], x: str, method: str = "condseg") -> Item:
    rows = {str(value): Row(f"{x} {value}", method, {option: value}) for value in values}
    numbers = all(isinstance(value, int | float) for value in values)
    return Item(title, rows, pictures.draw_sweep if numbers else None, x)


# Those of the paper's rows that are known here.
_OTHERS = {
    "unet": Row("U-Net", "unet", paper_iou={"kvasir-sessile": 23.1}),
    "unet_plus_plus": Row("U-Net++", "unet_plus_plus", paper_iou={"kvasir-sessile": 38.4}),
    "attention_unet": Row("Attention U-Net", "attention_unet", paper_iou={"kvasir-sessile": 27.5}),
}
_CONDSEG = Row("ConDSeg", paper_iou={"kvasir-sessile": 81.2, "kvasir-seg": 84.6})
_BASELINE = Row("baseline", "condseg_baseline")
_COMPARED = {**_OTHERS, "condseg": _CONDSEG}
_SAME_ENCODER = {"flexible_unet": Row("U-Net, same encoder", "flexible_unet")}
_MED_DISSEG, _NO_DISPERSION = "med_disseg", {"dispersive_weight": 0.0}


_PAPER_RATES = {
    "optimizer_name": "adam",
    "weight_decay": 0.0,
    "gradient_clip": None,
    "lr_schedule": "plateau",
    "learning_rate": 1e-4,
    "encoder_learning_rate": 1e-5,
    "stage1_encoder_learning_rate": 1e-4,
}
_PRESET = read_configs(["preset_recommended"])[0]
_RECOMMENDED = {name: _PRESET[name] for name in _PRESET["+options"] if name != "epochs"}  # as many as the other rows
_RANDOM_ENCODER = {"encoder_weights": None, "encoder_learning_rate": 2e-3}
_QUARTER = {"labeled_fraction": 0.25, "labeled_batch_size": 3, "unlabeled_batch_size": 3}


def _dec_seg(title: str, share: float, **options: Any) -> Row:
    labeled = {"labeled_fraction": share, "labeled_batch_size": 3, "unlabeled_batch_size": 3}
    return Row(title, "dec_seg", {**labeled, **options}, epochs_factor=0.1 / share)


def _from_supervised(title: str, share: float, **options: Any) -> Row:
    """As published, from the weights of a training on the labelled images alone, of the same network."""
    network = {name: value for name, value in options.items() if name in ("cfa", "dcf")}
    alone = _dec_seg("", share, unlabeled_batch_size=0, **network)
    return _dec_seg(title, share, **options)._replace(starts_from=alone)


def _twice_as_long(row: Row) -> Row:
    """The control for a row that starts from this one's weights: as many steps, and no more images."""
    return row._replace(title=f"{row.title}, twice as long", epochs_factor=2 * row.epochs_factor)


def _label_shares(share: float) -> dict[str, Row]:
    alone = _dec_seg(f"{share:.0%} of the labels, those images alone", share, unlabeled_batch_size=0)
    both = f"{share:.0%} of the labels, and the other images"
    rows = {
        "alone": alone,
        "longer": _twice_as_long(alone),
        "both": _dec_seg(both, share),
        "after": _from_supervised(f"{both}, from the weights of those alone", share),
    }
    return {f"{name}{share:.0%}": row for name, row in rows.items()}


_DEC_SEG_ALONE = _dec_seg("DEC-Seg, 25 % of the labels, those images alone", 0.25, unlabeled_batch_size=0)

ITEMS: dict[str, Item] = {
    "methods": Item(
        "All methods",
        {
            **_OTHERS,
            **_SAME_ENCODER,
            "flexible_unet_recommended": Row("U-Net, same encoder, preset recommended", "flexible_unet", _RECOMMENDED),
            "one_stage": Row("ConDSeg, one stage", "condseg_one_stage"),
            "without_cr": Row("ConDSeg without Consistency Reinforcement", "condseg_without_cr"),
            "condseg_paper": _CONDSEG._replace(title="ConDSeg, the paper's optimizer and rates", options=_PAPER_RATES),
            "condseg_recommended": _CONDSEG._replace(title="ConDSeg, preset recommended", options=_RECOMMENDED),
            "condseg": _CONDSEG,
            "med_disseg": Row("Med-DisSeg", "med_disseg"),
            "dec_seg_alone": _DEC_SEG_ALONE,
            "dec_seg_longer": _twice_as_long(_DEC_SEG_ALONE),
            "dec_seg": _from_supervised("DEC-Seg, 25 % of the labels", 0.25),
            "student": Row("ConDSeg as DEC-Seg's student, 25 % of the labels", "condseg_student", _QUARTER, 0.4),
        },
        pictures.draw_cost,
    ),
    "recipe": Item(
        "Recipes: what one change to the training does",
        {
            "base": Row("as the others are trained"),
            "no_region_losses": Row("no losses of the regions", options={"lambda_regions": 0.0}),
            "region_losses_tenth": Row("losses of the regions: a tenth", options={"lambda_regions": 0.1}),
            "beta_detached": Row("no gradient through beta", options={"stage2_stage_loss#weight_gradient": False}),
            "beta_ceiling_3": Row("beta at most 3", options={"stage2_stage_loss#ceiling": 3.0}),
            "class_balance": Row("classes balanced", options={"class_balance": 0.5}),
            **_SAME_ENCODER,
            "flexible_unet_class_balance": Row(
                "U-Net, same encoder, classes balanced", "flexible_unet", {"class_balance": 0.5}
            ),
            "flexible_unet_plateau": Row(
                "U-Net, same encoder, rates that fall on a plateau", "flexible_unet", {"lr_schedule": "plateau"}
            ),
            "no_average": Row("weights not averaged", options={"ema_decay": None}),
            "zoom": Row("zoom", options={"zoom": 1.3}),
            "color_jitter": Row("colour jitter", options={"color_jitter": 0.2}),
            "anti_aliasing": Row("anti-aliased resizing", options={"anti_aliasing": True}),
            "view_passes": Row("a pass for each view", options={"stage1_view_passes": 2}),
            "no_clip": Row("gradients not clipped", options={"gradient_clip": None}),
            "adam": Row("Adam", options={"optimizer_name": "adam", "weight_decay": 0.0}),
            "encoder_rate_of_decoder": Row("encoder's rate 2e-3", options={"encoder_learning_rate": 2e-3}),
            "encoder_rate_tenth": Row("encoder's rate 2e-4", options={"encoder_learning_rate": 2e-4}),
            "random_encoder": Row("random encoder", options=_RANDOM_ENCODER),
            "lite2": Row("EfficientNet-lite2", options={"encoder": "efficientnet_lite2"}),
            "channels": Row("32 decoder channels", options={"decoder_channels": 32}),
            "plateau": Row("rates that fall on a plateau", options={"lr_schedule": "plateau"}),
            "group_norm": Row("random encoder, group norm", options={**_RANDOM_ENCODER, "norm": "group"}),
            "larger": Row("images of 128 pixels", options={"image_size": 128}),
            "paper": Row("the paper's optimizer and rates", options=_PAPER_RATES),
        },
    ),
    "table1": Item("ConDSeg, Table 1: Kvasir-Sessile, Kvasir-SEG, GlaS", _COMPARED),
    "table2": Item("ConDSeg, Table 2: ISIC-2016, ISIC-2017", _COMPARED),
    "table3": Item(
        "ConDSeg, Table 3: training",
        {
            "net0": Row("Net_0", "net0_without_cr"),
            "net0_cr": Row("Net_0 with Consistency Reinforcement", "net0"),
            "one_stage": Row("one stage", "condseg_one_stage"),
            "without_cr": Row("two stages without Consistency Reinforcement", "condseg_without_cr"),
            "two_stages": Row("two stages"),
        },
    ),
    "table4": Item(
        "ConDSeg, Table 4: modules",
        {
            "baseline": _BASELINE,
            "sid_cdfa": Row("with SID and CDFA", options={"decoders": 1}),
            "sa_decoder": Row("with SA-Decoder too"),
        },
    ),
    "table6": _sweep("ConDSeg, Table 6: epochs of stage 1", "stage1_epochs", (5, 10, 20, 50, 100), "epochs of stage 1"),
    "table7": _sweep("ConDSeg, Table 7: K of CDFA", "cdfa_window", (1, 3, 5, 7), "K"),
    "table8": Item("ConDSeg, Table 8: speed", {**_OTHERS, "condseg": Row("ConDSeg")}, kind="speed"),
    "table9": _sweep(
        "ConDSeg, Table 9: encoders",
        "encoder",
        ("vgg19", "resnet18", "resnet34", "resnet50", "pvt_v2_b2", "efficientnet_lite0"),
        "encoder",
    ),
    "table10": Item("ConDSeg, Table 10: Synapse", {"condseg": Row("ConDSeg", "ct")}, kind="volumes"),
    "figure3": Item(
        "ConDSeg, Figure 3: Grad-CAM", {"baseline": _BASELINE, "condseg": _CONDSEG}, pictures.draw_grad_cam
    ),
    "figure5": Item(
        "ConDSeg, Figure 5: convergence", {**_OTHERS, **_SAME_ENCODER, "condseg": _CONDSEG}, pictures.draw_curves
    ),
    "figure6": _sweep(
        "ConDSeg, Figure 6: threshold of the consistency loss",
        "stage1_consistency_threshold",
        (0.3, 0.4, 0.5, 0.6, 0.7),
        "threshold",
    )._replace(draw=pictures.draw_thresholds),
    "figure7": _sweep(
        "ConDSeg, Figure 7: kind of the consistency loss",
        "stage1_consistency_kind",
        ("bce", "kl", "js", "mse"),
        "kind",
    ),
    "figure8": Item(
        "ConDSeg, Figure 8: features of the regions",
        {"without": Row("without the region losses", options={"lambda_regions": 0.0}), "condseg": _CONDSEG},
        pictures.draw_regions,
    ),
    "figure9": Item("ConDSeg, Figure 9: cases", {**_OTHERS, **_SAME_ENCODER, "condseg": _CONDSEG}, pictures.draw_cases),
    "med_disseg_table3": Item(
        "Med-DisSeg, Table 3: modules",
        {
            "none": Row("TeLU alone", _MED_DISSEG, {"elat": False, "cbat": False, **_NO_DISPERSION}),
            "elat": Row("with ELAT", _MED_DISSEG, {"cbat": False, **_NO_DISPERSION}),
            "cbat": Row("with ELAT and CBAT", _MED_DISSEG, _NO_DISPERSION),
            "disp1": Row("and dispersion in stage 1", _MED_DISSEG, {**_NO_DISPERSION, "stage1_dispersive_weight": 0.2}),
            "disp2": Row("and in stage 2", _MED_DISSEG),
        },
    ),
    "med_disseg_weight": _sweep(
        "Med-DisSeg, parameters: weight of the dispersive loss",
        "dispersive_weight",
        (0.0, 0.02, 0.2, 0.6, 1.0),
        "weight",
        _MED_DISSEG,
    ),
    "med_disseg_kind": _sweep(
        "Med-DisSeg, parameters: kind of the dispersive loss",
        "dispersive_kind",
        ("infonce_cosine", "infonce_l2", "hinge", "covariance"),
        "kind",
        _MED_DISSEG,
    ),
    "med_disseg_temperature": _sweep(
        "Med-DisSeg, parameters: temperature of the dispersive loss",
        "dispersive_temperature",
        (0.1, 0.5, 0.8, 1.0),
        "temperature",
        _MED_DISSEG,
    ),
    "med_disseg_layer": _sweep(
        "Med-DisSeg, parameters: the maps that are dispersed",
        "dispersive_layer",
        ("early", "mid", "late", "all"),
        "layer",
        _MED_DISSEG,
    ),
    "dec_seg": Item(
        "DEC-Seg, ablation, a tenth of the labels",
        {
            "all": _from_supervised("all", 0.1),
            "sc": _from_supervised("without scale consistency", 0.1, scale_weight=0.0),
            "spc": _from_supervised("without perturbation consistency", 0.1, perturbation_weight=0.0),
            "cc": _from_supervised("without generative consistency", 0.1, generative_weight=0.0),
            "cfa": _from_supervised("without CFA", 0.1, cfa=False),
            "dcf": _from_supervised("without DCF", 0.1, dcf=False),
        },
    ),
    "dec_seg_labels": Item("DEC-Seg, shares of the labels", {**_label_shares(0.1), **_label_shares(0.3)}),
}

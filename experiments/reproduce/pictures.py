"""Pictures of the papers' figures, from the rows that are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage

from condseg_monai.cli.workflows import open_run
from condseg_monai.data.images.image_reader import read_natural_image
from condseg_monai.data.images.mask_reader import read_mask
from condseg_monai.data.lists.pairing import case_name, find_cases
from condseg_monai.inference.grad_cam import lesion_cam
from condseg_monai.inference.packed_bundle import load_model
from condseg_monai.metrics.bootstrap import bootstrap_interval
from condseg_monai.reports.drawing import LABEL_COLOR, PREDICTION_COLOR, draw_case, draw_heat_map
from condseg_monai.reports.sheet import contact_sheet
from condseg_monai.segmenter import Segmenter
from experiments.reproduce.trainings import Plan, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = [
    "draw_cases",
    "draw_cost",
    "draw_curves",
    "draw_grad_cam",
    "draw_regions",
    "draw_sweep",
    "draw_thresholds",
]


def draw_sweep(rows: Mapping[str, Row], plan: Plan, seeds: Sequence[int], x: str) -> Figure:
    """MIoU over the numbers that name the rows, with its 95 % interval over images."""
    figure, axes = _figure(x, "mIoU")
    _draw_means(axes, rows, plan, seeds)
    return figure


def draw_thresholds(rows: Mapping[str, Row], plan: Plan, seeds: Sequence[int], x: str) -> Figure:
    """MIoU over the threshold of training and over that of evaluation, and calibration, these two of the first seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4), layout="constrained")
    trained, evaluated, calibrated = figure.subplots(1, 3)
    _draw_means(trained, rows, plan, seeds)
    trained.set(xlabel=f"{x} in training", ylabel="mIoU")
    for row in rows.values():
        if (summary := plan.summary(row, seeds[0])) is not None:
            curve, bins = summary["thresholds"], summary["calibration"]
            evaluated.plot(curve["threshold"], curve["mean_iou"], label=row.title)
            calibrated.plot(*np.array([bins["probability"], bins["lesion"]], dtype=float), marker=".")
    calibrated.plot([0, 1], [0, 1], color="grey", linestyle=":")
    evaluated.set(xlabel=f"{x} in evaluation", ylabel="mIoU, at the images' own size")
    calibrated.set(xlabel="probability", ylabel="share of lesion")
    if evaluated.lines:  # none of scores without a summary
        figure.legend(loc="outside right upper")
    return figure


def _draw_means(axes: Any, rows: Mapping[str, Row], plan: Plan, seeds: Sequence[int]) -> None:
    values, means, errors = [], [], []
    for name, row in rows.items():
        if tables := plan.read_scores(row, seeds):
            images = np.mean([table.scores["mean_iou"] for table in tables.values()], axis=0)
            low, high = bootstrap_interval(images)
            values.append(float(name))
            means.append(float(images.mean()))
            errors.append((means[-1] - low, high - means[-1]))
    if values:
        axes.errorbar(values, means, yerr=np.transpose(errors), marker="o", capsize=3)
        axes.set_xticks(values)


def draw_cost(rows: Mapping[str, Row], plan: Plan, seeds: Sequence[int], x: str = "") -> Figure:
    """MIoU of each row with its 95 % interval over images, each seed's as a stroke, beside the multiply-adds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 0.4 * len(rows)), layout="constrained")
    scores, costs = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    for place, row in enumerate(rows.values()):
        scored = plan.read_scores(row, seeds)
        images = np.stack([table.scores["mean_iou"] for table in scored.values()])
        mean, (low, high) = images.mean(), bootstrap_interval(images.mean(axis=0))
        scores.errorbar(mean, place, xerr=[[mean - low], [high - mean]], marker="o", capsize=3, color="C0")
        scores.plot(images.mean(axis=1), [place] * len(images), "|", color="black")
        costs.barh(place, plan.cost(row, next(iter(scored)))[0], color="C0")
    scores.set_yticks(range(len(rows)), [row.title for row in rows.values()])
    scores.invert_yaxis()
    scores.set_xlabel("mIoU")
    costs.set_xlabel("GMAC")
    return figure


def draw_curves(rows: Mapping[str, Row], plan: Plan, seeds: Sequence[int], x: str = "") -> Figure:
    """Validation mIoU over the epochs of each row's last training."""
    from condseg_monai.training.handlers.training_history import read_history

    figure, axes = _figure("epoch", "validation mIoU")
    for number, row in enumerate(rows.values()):
        for seed in seeds:
            for path in plan.folder(plan.trainings(row)[-1], seed).glob("history_*.csv"):  # none if it failed
                epochs = [entry for entry in read_history(path) if entry.get("val_mean_iou") is not None]
                label = row.title if seed == seeds[0] else None
                points = [entry["epoch"] for entry in epochs], [entry["val_mean_iou"] for entry in epochs]
                axes.plot(*points, marker=".", color=f"C{number}", label=label)
    axes.legend()
    return figure


def draw_cases(rows: Mapping[str, Row], plan: Plan, seeds: Sequence[int], x: str = "", count: int = 6) -> Image:
    """A sheet of ``count`` images, from the worst to the best of the last row, with each row's contour."""
    *_, last = rows.values()
    scores = plan.read_scores(last, seeds[:1])[seeds[0]]
    ranked = scores.ranked("mean_iou")
    chosen = [scores.files[ranked[round(place)]] for place in np.linspace(0, len(ranked) - 1, min(count, len(ranked)))]
    cases = _cases(plan)
    pictures: list[list[Any]] = [[read_natural_image(cases[name]["image"])] for name in chosen]
    for row in rows.values():
        segmenter = Segmenter(plan.weights(row, seeds[0]), device="cpu")
        for line, name in zip(pictures, chosen, strict=True):
            line.append(draw_case(line[0], segmenter.predict(line[0].astype(np.uint8)).mask, _label(plan, cases[name])))
    legend = {"label": LABEL_COLOR, "prediction": PREDICTION_COLOR}
    return contact_sheet(pictures, ["image", *(row.title for row in rows.values())], chosen, legend=legend)


def draw_grad_cam(rows: Mapping[str, Row], plan: Plan, seeds: Sequence[int], x: str = "", count: int = 3) -> Image:
    """Grad-CAM near the output, of images with several lesions and of others with one."""
    cases = _cases(plan)
    several: list[str] = []
    single: list[str] = []
    for name, case in cases.items():
        (several if ndimage.label(_label(plan, case))[1] > 1 else single).append(name)
    chosen = [*several[:count], *single[:count]]
    labels = [_label(plan, cases[name]) for name in chosen]
    pictures: list[list[Any]] = [
        [draw_case(image, np.zeros_like(label), label)]
        for image, label in zip((read_natural_image(cases[name]["image"]) for name in chosen), labels, strict=True)
    ]
    for row in rows.values():
        network, images = _network_and_images(plan, row, seeds[0], [cases[name] for name in chosen])
        maps = lesion_cam(network)(images)[:, 0].numpy()
        for line, values, label in zip(pictures, maps, labels, strict=True):
            line.append(draw_heat_map(values, label.shape))
    titles = [f"{name}: {'several lesions' if name in several else 'one lesion'}" for name in chosen]
    return contact_sheet(pictures, ["label", *(row.title for row in rows.values())], titles)


def draw_regions(rows: Mapping[str, Row], plan: Plan, seeds: Sequence[int], x: str = "", count: int = 200) -> Figure:
    """t-SNE of SID's features, averaged over each image's map, with their silhouette: 1 if regions lie far apart.

    Raises:
        ModuleNotFoundError: without scikit-learn.
    """
    try:
        from sklearn.manifold import TSNE
        from sklearn.metrics import silhouette_score
    except ImportError as error:
        raise ModuleNotFoundError("t-SNE needs scikit-learn: pip install scikit-learn") from error
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(rows), 4.5), layout="constrained")
    for axes, row in zip(np.ravel(figure.subplots(1, len(rows))), rows.values(), strict=True):
        network, images = _network_and_images(plan, row, seeds[0], list(_cases(plan).values())[:count])
        with torch.no_grad():
            maps = [torch.stack(network.region_features(part)) for part in images.split(16)]
        points = torch.cat(maps, dim=1).mean(dim=(3, 4)).flatten(0, 1).numpy()  # all of f_fg, of f_bg, of f_uc
        regions = np.repeat(np.arange(3), len(images))
        flat = TSNE(perplexity=min(30, len(points) / 4), init="pca", random_state=0).fit_transform(points)
        for region, name in enumerate(("foreground", "background", "uncertainty")):
            axes.scatter(*flat[regions == region].T, s=8, label=name)
        axes.set(title=f"{row.title}: silhouette {silhouette_score(points, regions):.2f}", xticks=[], yticks=[])
    axes.legend()
    return figure


def _cases(plan: Plan) -> dict[str, dict[str, str]]:
    """Image and mask of every case of the list that is scored, by the name that its scores have, in their order."""
    suffix = str(plan.given.get("mask_suffix", ""))
    found = find_cases(plan.scored_dir, [plan.split], mask_suffix=suffix).cases[plan.split]
    named = {case_name(case) + Path(case["image"]).suffix: case for case in found}
    return dict(sorted(named.items()))


def _label(plan: Plan, case: Mapping[str, str]) -> np.ndarray:
    return read_mask(case["label"], plan.given.get("mask_threshold"))


def _network_and_images(
    plan: Plan, row: Row, seed: int, cases: Sequence[Mapping[str, str]]
) -> tuple[Any, torch.Tensor]:
    """A trained network, and images ``(B, C, H, W)`` as it takes them."""
    checkpoint, _, network = load_model(plan.weights(row, seed))
    with TemporaryDirectory() as folder:
        options = {"dataset_dir": str(plan.scored_dir / "images"), "output_dir": folder, "device": "cpu"}
        workflow = open_run(("inference",), {**options, "checkpoint": str(checkpoint)}, "infer")
        dataset = workflow.parser.get_parsed_content("dataset")
        places = {case["image"]: place for place, case in enumerate(dataset.data)}
        return network, torch.stack([dataset[places[case["image"]]]["image"].as_tensor() for case in cases])


def _figure(x: str, y: str) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    return figure, figure.add_subplot(xlabel=x, ylabel=y)

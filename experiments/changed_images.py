"""How a model scores images of another look: darker or brighter, of another white, paler, blurred, compressed.

    .venv/bin/python -m experiments.changed_images --dataset_dir DIR --split val condseg_polyp

Stands in for the images of another hospital. Each image of the list is changed in one way at a time, and its mask
scored at its own size: a row for each model, their mean below, in per cent of mIoU.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

from condseg_monai import Segmenter, check_datalist, read_mask, read_natural_image
from condseg_monai.metrics.binary import binary_scores


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="as of condseg predict")
    parser.add_argument("--dataset_dir", type=Path, required=True, help="images/, masks/ and the list")
    parser.add_argument("--split", default="val")
    options = parser.parse_args()
    cases = check_datalist(options.dataset_dir, [options.split])[options.split]
    pairs = [(Image.fromarray(read_natural_image(case["image"])), read_mask(case["label"])) for case in cases]
    print(f"| model, {len(pairs)} images of {options.split} |", " | ".join([*CHANGES, "mean of the changed"]), "|")
    print("|---" * (len(CHANGES) + 2), "|", sep="")
    rows = []
    for model in options.models:
        segmenter = Segmenter(model)
        rows.append(
            [np.mean([iou(segmenter, change(image), mask) for image, mask in pairs]) for change in CHANGES.values()]
        )
        print_row(model, rows[-1])
    print_row("mean", np.mean(rows, axis=0))


def gamma(image: Image.Image, exponent: float) -> Image.Image:
    """Darker above 1, brighter below."""
    return image.point(lambda value: round(255 * (value / 255) ** exponent))


def gains(image: Image.Image, red: float, green: float, blue: float) -> Image.Image:
    """Another white."""
    return image.convert("RGB", (red, 0, 0, 0, 0, green, 0, 0, 0, 0, blue, 0))


def compressed(image: Image.Image) -> Image.Image:
    """As a JPEG of low quality has it."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=15)
    return Image.open(file).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as it is": lambda image: image,
    "gamma 1.8": partial(gamma, exponent=1.8),
    "gamma 0.55": partial(gamma, exponent=0.55),
    "bluish": partial(gains, red=0.75, green=1.0, blue=1.2),
    "greenish": partial(gains, red=0.8, green=1.1, blue=0.85),
    "half the colour": lambda image: ImageEnhance.Color(image).enhance(0.5),
    "half the contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.5),
    "blurred, 2 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "JPEG of quality 15": compressed,
}


def iou(segmenter: Segmenter, image: Image.Image, mask: np.ndarray) -> float:
    """IoU of the image's mask, in per cent."""
    found = torch.from_numpy(segmenter.predict(image).mask > 0)
    return 100 * float(binary_scores(found[None, None], torch.from_numpy(mask)[None, None])["iou"])


def print_row(name: str, scores: np.ndarray | list[float]) -> None:
    """A row of the table."""
    print(f"| {name} |", " | ".join(f"{score:.1f}" for score in [*scores, np.mean(scores[1:])]), "|", flush=True)


if __name__ == "__main__":
    main()

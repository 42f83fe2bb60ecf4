"""Gradient of Med-DisSeg's dispersive loss on real features, normalised and as released.

Passes the first images of a list through the first-stage network, in training mode, and prints for each kind of the
loss its value and the norm of its gradient over the encoder's parameters, beside those of the mask loss.

    .venv/bin/python -m experiments.dispersive_gradient --dataset_dir DIR --encoder resnet50 --image_size 128
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from condseg_monai import MaskLoss, MedDisSegStage1, check_datalist, normalize_image, read_natural_image
from condseg_monai.losses.dispersive import dispersive_loss

KINDS = ("infonce_l2", "infonce_cosine", "hinge", "covariance")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", type=Path, required=True, help="images/, masks/ and the list")
    parser.add_argument("--split", default="train")
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--checkpoint", type=Path, help="stage1.pt of a training; random weights (seed 0) without")
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=4)
    options = parser.parse_args()
    torch.manual_seed(0)
    network = MedDisSegStage1(encoder=options.encoder)
    if options.checkpoint is not None:
        network.load_state_dict(torch.load(options.checkpoint, map_location="cpu", weights_only=True))
    image, label = load_batch(options)
    output = network.train()(image)
    distance = F.pdist(output.features[-1].detach().flatten(1))
    numbers = output.features[-1][0].numel()
    print(
        f"{len(image)} images, {numbers} numbers each, Euclidean distances {distance.min():.0f} to {distance.max():.0f}"
    )
    losses = {"mask loss": MaskLoss()(output.mask, label)}
    for kind in KINDS:
        for normalize in (True, False):
            name = f"{kind}, {'normalised' if normalize else 'as released'}"
            losses[name] = dispersive_loss(output.features[-1], kind, normalize=normalize)
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, list(network.encoder.parameters()), retain_graph=True)
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        print(f"{name:28s} value {loss.item():12.4g}   gradient norm {norm.item():10.3g}")


def load_batch(options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """The first images of the list, as ImageNet's weights expect them, and their masks."""
    size = (options.image_size, options.image_size)
    images, labels = [], []
    for case in check_datalist(options.dataset_dir, [options.split])[options.split][: options.batch_size]:
        image = torch.from_numpy(read_natural_image(case["image"]) / 255).permute(2, 0, 1).float()
        label = torch.from_numpy(read_natural_image(case["label"], "L") > 127)[None].float()
        images.append(F.interpolate(image[None], size, mode="bilinear"))
        labels.append(F.interpolate(label[None], size, mode="nearest-exact"))
    return normalize_image(torch.cat(images), "imagenet"), torch.cat(labels)


if __name__ == "__main__":
    main()

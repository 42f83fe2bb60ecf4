"""Models with random weights and a card, without a training."""

from pathlib import Path
from typing import Any

import torch

from condseg_monai.networks.class_names import set_class_names
from condseg_monai.networks.methods import METHODS, network_of
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.utils.files import file_sha256

_ARGUMENTS = {
    "encoder": "resnet18",
    "decoder_channels": 8,
    "cdfa": "paper",
    "cfa": True,
    "down_scale": True,
    "dcf": True,
}


def save_model(folder: Path, method: str = "condseg", seed: int = 0, in_channels: int = 3, **card: Any) -> Path:
    """Write ``models/model.pt`` and its card into ``folder``, and return the folder."""
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    shape = {"in_channels": in_channels, "out_channels": len(card["class_names"]) if "class_names" in card else 1}
    options = METHODS[method].options
    shape |= {**options, **{name: value for name, value in _ARGUMENTS.items() if name in options}}
    model = ModelCard(method, shape, **{"image_size": 32, **card})
    network = network_of(model)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.running_var is not None:
            module.running_var.uniform_(0.5, 1.5)
    if model.kind == "ct":
        set_class_names(network, model.class_names)  # which trainings on CT save
    torch.save(network.state_dict(), models / "model.pt")
    weights = {"file": "model.pt", "sha256": file_sha256(models / "model.pt")}
    best = {"metric": "val_mean_iou", "value": 0.5, "epoch": 3, "interval_95": [0.4, 0.6]}
    ModelCard(method, shape, **{"image_size": 32, **card}, weights=weights, training={"best": best}).write(
        models / "model.json"
    )
    return folder

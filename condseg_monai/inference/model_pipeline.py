"""Pipeline of one trained model, from arrays in memory to probabilities: that of the package's own inference config."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import AsDiscreted, SaveImaged
from torch import Tensor, nn

from condseg_monai.inference.case_loader import predict_batch
from condseg_monai.inference.required_checkpoint import RequiredCheckpoint
from condseg_monai.networks.averaged import average_flips
from condseg_monai.networks.methods import network_of
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.utils.bundle_path import bundle_dir
from condseg_monai.utils.errors import root_cause
from condseg_monai.utils.method_files import INFERENCE

__all__ = ["ModelPipeline", "load_pipeline"]


@dataclass(frozen=True)
class ModelPipeline:
    """A network, on its device, with the inferer and the transforms of the config, but those that read or write files.

    Attributes:
        inferer: of images; of CT the :class:`~condseg_monai.VolumeInferer`, which does all of it.
        transforms: of images, what comes before the network, what makes probabilities of its logits at the image's
            size, and what makes a mask of those.
    """

    card: ModelCard
    class_names: tuple[str, ...]
    device: torch.device
    batch_size: int
    network: nn.Module
    inferer: Any
    transforms: tuple[list[Any], list[Any], list[Any]] = ([], [], [])

    def for_this_thread(self) -> ModelPipeline:
        """With transforms of its own: MONAI's inversion changes them while it works."""
        return replace(self, transforms=copy.deepcopy(self.transforms))

    def scores(self, arrays: Sequence[np.ndarray]) -> list[dict[str, Tensor]]:
        """Return of each image ``(H, W, C)`` ``pred``, ``(C, H, W)`` probabilities, and ``uncertainty``, ``(1, H, W)``,
        if the network has it.
        """
        before, after, _ = self.transforms
        with torch.inference_mode():
            cases = [_apply(before, {"image": _as_read(array)}) for array in arrays]
            cases = [_apply(after, case) for case in predict_batch(cases, self.inferer, self.network, self.device)]
        return [{key: case[key].as_tensor().cpu() for key in ("pred", "uncertainty") if key in case} for case in cases]

    def mask(self, probability: Tensor) -> np.ndarray:
        """Return class numbers ``(H, W)`` for probabilities ``(C, H, W)``."""
        case = _apply(self.transforms[2], {"pred": MetaTensor(probability)})
        return np.asarray(case["pred"])[0].astype(np.uint8)


def load_pipeline(checkpoint: Path, card: ModelCard, options: Mapping[str, Any], tta: bool = False) -> ModelPipeline:
    """Load a checkpoint into the pipeline of this package's config. Nothing beside the checkpoint is read.

    Args:
        checkpoint: the weights.
        card: what they are, read as data.
        options: of the config, to replace its own.
        tta: average over flips.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if it is damaged, or not what the card describes.
    """
    parser = ConfigParser(ConfigParser.load_config_file(bundle_dir() / "configs" / f"{INFERENCE[card.kind]}.json"))
    parser["model"] = card
    if card.kind == "image":  # LoadImaged, which is not needed, makes all of MONAI's readers, and one warns
        steps = parser["preprocessing"]["transforms"]
        parser["preprocessing"]["transforms"] = [step for step in steps if step["_target_"] != "LoadImaged"]
    for name, value in options.items():
        parser[name] = value
    network = network_of(card)
    weights = RequiredCheckpoint(checkpoint, network, card)
    weights.load()
    network = average_flips(network, tta).eval()
    parser["network_def"] = network
    parser["save_uncertainty"] = "npy" if hasattr(network, "predict_regions") else "none"
    try:
        return _parse(parser, card, weights.class_names or card.class_names)
    except RuntimeError as error:  # MONAI wraps what a component raises
        cause = root_cause(error)
        raise (ValueError(f"{checkpoint}: {cause}") if isinstance(cause, ValueError) else cause) from error


def _parse(parser: ConfigParser, card: ModelCard, class_names: tuple[str, ...]) -> ModelPipeline:
    pipeline = ModelPipeline(
        card=card,
        class_names=class_names,
        device=torch.device(parser.get_parsed_content("device")),
        batch_size=parser.get_parsed_content("batch_size"),
        network=parser.get_parsed_content("network"),
        inferer=parser.get_parsed_content("inferer"),
    )
    if card.kind == "ct":
        return pipeline
    before = parser.get_parsed_content("preprocessing").transforms
    after = [t for t in parser.get_parsed_content("postprocessing").transforms if not isinstance(t, SaveImaged)]
    (cut,) = (i for i, transform in enumerate(after) if isinstance(transform, AsDiscreted))
    return replace(pipeline, transforms=(before, after[:cut], after[cut:]))


def _as_read(array: np.ndarray) -> MetaTensor:
    """As ``LoadImaged`` gives what :class:`~condseg_monai.NaturalImageReader` reads."""
    meta = {"original_channel_dim": -1, "spatial_shape": np.array(array.shape[:2])}
    return MetaTensor(torch.from_numpy(np.array(array)), meta=meta)


def _apply(transforms: Iterable[Any], case: dict[str, Any]) -> dict[str, Any]:
    for transform in transforms:
        case = transform(case)
    return case

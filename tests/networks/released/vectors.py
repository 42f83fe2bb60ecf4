"""What the released networks compute, as stored numbers (see data/README.md)."""

from __future__ import annotations

import json
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests import fill

DATA = Path(__file__).parent / "data"
SAMPLES = 1024


class Vectors:
    """The stored numbers of one released model."""

    def __init__(self, model: str) -> None:
        with np.load(DATA / f"{model}.npz") as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}

    def json(self, name: str) -> dict:
        return json.loads(self.arrays[name].tobytes())

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The released state_dict: stored running statistics, everything else drawn."""
        weights, start = {}, 0
        for key, shape in self.json("keys").items():
            if key.endswith((".running_mean", ".running_var")):
                value = self.arrays["bn"][start : start + shape[0]]
                start += shape[0]
            else:
                value = fill.parameter(key, tuple(shape))
            weights[key] = torch.from_numpy(value)
        return weights

    def state_dict(self) -> dict[str, Tensor]:
        """A new dictionary of the shared tensors."""
        return dict(self.weights)

    def expected(self, run: str) -> dict[str, Tensor]:
        prefix = f"{run}/"
        return {
            name.removeprefix(prefix): torch.from_numpy(value)
            for name, value in self.arrays.items()
            if name.startswith(prefix)
        }


@cache
def load(model: str) -> Vectors:
    return Vectors(model)


def sample(value: Tensor, count: int = SAMPLES) -> Tensor:
    """Evenly spaced values of a map, as the stored ones were taken."""
    flat = value.detach().flatten()
    return flat[torch.from_numpy(np.linspace(0, flat.numel() - 1, min(count, flat.numel())).astype(np.int64))]

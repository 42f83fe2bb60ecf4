"""Dispersive loss: contrastive without positive pairs, it separates the features of different images."""

from __future__ import annotations

import math

import ignite.distributed as idist
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai.losses._common import check_number, full_precision

__all__ = ["DispersiveLoss", "dispersive_loss"]

_KINDS = ("infonce_l2", "infonce_cosine", "hinge", "covariance")
_LOG_RELEASED_FLOOR = math.log(1e-8)


def dispersive_loss(
    features: Tensor, kind: str = "infonce_cosine", temperature: float = 0.5, normalize: bool = True
) -> Tensor:
    """Compute the dispersive loss of a batch: low where its images' features are far apart.

    Source: R. Wang and K. He, "Diffuse and Disperse: Image Generation with Representation Regularization" (2025), as
    used by Med-DisSeg. The features of each image are one vector of D numbers. Over all pairs of different images:

    - ``infonce_l2``: log of the mean of exp(-d / temperature), d the distance of the pair;
    - ``infonce_cosine``: the same with d = 1 - cosine;
    - ``hinge``: mean of max(0, 1 - d)^2;
    - ``covariance``: sum of the squared covariances of different features.

    The distance d is, by ``normalize``:

    - True, as in the loss's own paper: the squared distance divided by D; so are the covariances' inner products.
    - False, as in the released Med-DisSeg: the Euclidean distance, with 1e-8 added inside the logarithm. On real
      features this is the constant log(1e-8) = -18.42 without gradient.

    Args:
        features: ``(B, ...)`` of any floating type; each image's features are flattened to D numbers. Computed in
            float32 (float64 stays), autocast or not.
        kind: one of the four.
        temperature: positive; read by the two ``infonce`` kinds.
        normalize: which distance.

    Returns:
        Scalar: at most 0 for the ``infonce`` kinds (0 where all images are equal; without ``normalize`` 1e-8 more), in
        [0, 1] for ``hinge``, at least 0 for ``covariance``. A batch of one image has no pairs: 0, with a gradient of 0.

    Raises:
        TypeError: if ``features`` is not a floating point tensor.
        ValueError: if it is empty or has no feature dimension, ``kind`` is unknown, or ``temperature`` is not positive
            and finite.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> round(dispersive_loss(features).item(), 4)  # d = 1 - 0
        -2.0
        >>> round(dispersive_loss(features, "infonce_l2").item(), 4)  # d = 2 / 2
        -2.0
    """
    _check(kind, temperature)
    if not isinstance(features, Tensor) or not features.is_floating_point():
        raise TypeError(f"features must be a floating point tensor, got {getattr(features, 'dtype', type(features))}")
    if features.ndim < 2 or features.numel() == 0:
        raise ValueError(f"features must be (B, ...) and not empty, got {tuple(features.shape)}")
    with full_precision(features.flatten(start_dim=1)) as (z,):
        if len(z) == 1:
            return z[:, :0].sum()  # 0 that keeps a graph, whatever the features are
        if kind == "covariance":
            return _covariance(z, normalize)
        if kind == "infonce_cosine":
            unit = F.normalize(z, dim=1)
            first, second = torch.triu_indices(len(z), len(z), offset=1, device=z.device)
            distance = 1 - (unit @ unit.T)[first, second]
        else:
            distance = F.pdist(z)  # (B * (B - 1) / 2,); both orders of a pair have the same
            if normalize:
                distance = distance.square() / z.shape[1]
        if kind == "hinge":
            return (1 - distance).clamp(min=0).square().mean()
        # of exponents, never of exponentials: a gradient at any distance
        log_mean = torch.logsumexp(-distance / temperature, dim=0) - math.log(len(distance))
        return log_mean if normalize else torch.logaddexp(log_mean, torch.full_like(log_mean, _LOG_RELEASED_FLOOR))


def _covariance(z: Tensor, normalize: bool) -> Tensor:
    """Sum of squares off the diagonal of the ``(D, D)`` covariance, from ``(B, B)`` inner products: D may be 1e5."""
    centred = z - z.mean(dim=0)
    total = (centred @ centred.T).square().sum()
    diagonal = centred.square().sum(dim=0).square().sum()
    value = (total - diagonal) / (len(z) - 1) ** 2
    return value / z.shape[1] ** 2 if normalize else value


def _check(kind: str, temperature: float) -> None:
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}, got {kind!r}")
    check_number("temperature", temperature, "(0, inf)")


class DispersiveLoss(nn.Module):
    """:func:`dispersive_loss` as a module, over the batches of all processes.

    In a distributed run the pairs are those of the global batch, and the average of ``DistributedDataParallel`` is the
    gradient of their loss. Processes may have batches of different sizes.
    """

    def __init__(self, kind: str = "infonce_cosine", temperature: float = 0.5, normalize: bool = True) -> None:
        super().__init__()
        _check(kind, temperature)
        self.kind, self.temperature, self.normalize = kind, temperature, normalize

    def forward(self, features: Tensor) -> Tensor:
        """Compute the loss of ``(B, ...)`` features, a float32 (or float64) scalar."""
        processes = idist.get_world_size()
        if processes == 1:
            return dispersive_loss(features, self.kind, self.temperature, self.normalize)
        value = dispersive_loss(_gather(features), self.kind, self.temperature, self.normalize)
        # The gradient reaches this process's features only; the average over processes divides it by their number.
        return value.detach() + processes * (value - value.detach())


def _gather(features: Tensor) -> Tensor:
    """The features of all processes in their order; the gradient of this process's own ones is kept."""
    with torch.no_grad():  # nothing is communicated in the backward pass: DistributedDataParallel has its own order
        own = features.detach().contiguous()
        size = torch.tensor([len(own)], device=own.device)
        sizes = [torch.empty_like(size) for _ in range(idist.get_world_size())]
        dist.all_gather(sizes, size)
        counts = [int(count) for count in sizes]
        padded = own.new_zeros((max(counts), *own.shape[1:]))
        padded[: len(own)] = own
        batches = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(batches, padded)
    parts = [batch[:count] for batch, count in zip(batches, counts, strict=True)]
    parts[idist.get_rank()] = features
    return torch.cat(parts)

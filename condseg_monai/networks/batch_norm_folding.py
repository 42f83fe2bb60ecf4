"""BatchNorm folded into the convolutions before it, for networks that are done with training."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["fold_batch_norm"]


def fold_batch_norm(network: nn.Module, image: Tensor, inplace: bool = False) -> nn.Module:
    """Fold each BatchNorm whose input is the output of a convolution into that convolution's weights.

    In evaluation a BatchNorm is an affine map of each channel, so the result is the same function up to rounding (about
    1e-6 of the largest logit). Which layers belong together is seen in one pass of ``image`` through the network, not
    guessed from names; layers the pass does not reach, or that are reached twice, stay as they are. ReLUs that then
    follow a convolution work in place. A second pass checks that the numbers are the same.

    Args:
        network: a network; one with ``forward_regions``, such as :class:`~condseg_monai.ConDSeg`, is walked through
            that, so that everything it can predict is folded.
        image: a small input it takes, such as ``(1, 3, 64, 64)``; its values do not matter.
        inplace: change ``network`` itself, in the memory its weights have. Otherwise a copy is changed and the network
            stays trainable.

    Returns:
        The folded network, in evaluation mode. Its state_dict is another one: load weights before folding.

    Raises:
        ValueError: if the folded network computes something else, by more than a thousandth of the largest output,
            mostly because the output of a convolution or a BatchNorm in it is also used elsewhere; ``network`` is
            unusable then if it was changed ``inplace``.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> fold_batch_norm(network, torch.zeros(1, 3, 8, 8))
        Sequential(
          (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
          (1): Identity()
          (2): ReLU(inplace=True)
        )
    """
    folded = (network if inplace else copy.deepcopy(network)).eval()
    names = {module: name for name, module in folded.named_modules()}
    uses: Counter[Tensor] = Counter(parameter for _, parameter in folded.named_parameters(remove_duplicate=False))
    chains, expected = _look_through(folded, image)
    for conv, norm, activation in chains:
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None and variance is not None  # or it would not be in a chain
        with torch.no_grad():
            # Folded into ones, the norm gives each channel's scale: the weights themselves are scaled where they are.
            ones = conv.weight.new_ones(len(mean), 1, 1, 1)
            scale, conv.bias = fuse_conv_bn_weights(ones, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias)
            _scale(conv, scale, uses[conv.weight] > 1)
        parent, _, name = names[norm].rpartition(".")
        setattr(folded.get_submodule(parent), name, nn.Identity())
        if activation is not None:
            activation.inplace = True
    for output, before in zip(_outputs(folded, image), expected, strict=True):
        # Rounding is some 1e-6 in a trained network, but was seen to reach 7e-4 in one with the statistics of one pass.
        difference = float((output - before).abs().max() / (1 + before.abs().max()))
        if difference > 1e-3:
            raise ValueError(
                f"BatchNorm cannot be folded in {type(network).__name__}, whose output would change by {difference:.0e}"
                " of the largest: leave it as it is"
            )
    return folded


def _scale(conv: nn.Conv2d, scale: Tensor, is_shared: bool) -> None:
    """Scale each output channel, in place where nothing else has the weight: a second set of weights takes memory."""
    if is_shared or conv.weight.is_inference():
        conv.weight = nn.Parameter(conv.weight * scale, conv.weight.requires_grad)
    else:
        conv.weight.mul_(scale)


def _outputs(network: nn.Module, image: Tensor) -> list[Tensor]:
    """All that ``network`` can predict."""
    with torch.no_grad():
        output = getattr(network, "forward_regions", network)(image)
    return [output] if isinstance(output, Tensor) else list(output)


def _look_through(
    network: nn.Module, image: Tensor
) -> tuple[list[tuple[nn.Conv2d, nn.BatchNorm2d, nn.ReLU | None]], list[Tensor]]:
    """The convolutions with the BatchNorm, and the ReLU if any, that alone take their output; and the outputs."""
    made_by = WeakTensorKeyDictionary()  # no output lives longer than the pass needs it
    takers: dict[nn.Module, list[nn.Module]] = {}
    calls: dict[nn.Module, int] = {}

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[module] = calls.get(module, 0) + 1
        if inputs and isinstance(inputs[0], Tensor) and inputs[0] in made_by:
            takers.setdefault(made_by[inputs[0]], []).append(module)
        if isinstance(output, Tensor) and isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            made_by[output] = module

    leaves = [module for module in network.modules() if not any(module.children())]
    handles = [module.register_forward_hook(look) for module in leaves]
    try:
        outputs = _outputs(network, image)
    finally:
        for handle in handles:
            handle.remove()

    chains = []
    for conv, after in takers.items():
        if not isinstance(conv, nn.Conv2d) or len(after) != 1 or not isinstance(after[0], nn.BatchNorm2d):
            continue
        norm = after[0]
        if calls[conv] != 1 or calls[norm] != 1 or norm.running_mean is None:
            continue
        after = takers.get(norm, [])
        relu = after[0] if len(after) == 1 and calls[after[0]] == 1 else None
        chains.append((conv, norm, relu if isinstance(relu, nn.ReLU) else None))
    return chains, outputs

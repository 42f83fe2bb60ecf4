import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from condseg_monai import ConDSeg, FastInference, use_channels_last


class Evaluator(Engine):
    """Applies its network, as MONAI's evaluators do."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        super().__init__(lambda engine, batch: engine.network(batch))


def predictions(evaluator: Evaluator, image: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return evaluator.run([image]).output


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return ConDSeg(encoder="resnet18", decoder_channels=16).double().eval()  # so that rounding is far from any bound


@pytest.mark.parametrize("channels_last", [False, True])
def test_predictions_are_the_same_and_the_network_comes_back(network, channels_last):
    image = torch.rand(2, 3, 48, 33, dtype=torch.float64)
    expected = predictions(Evaluator(network), image)
    evaluator = Evaluator(network)
    FastInference(channels_last=channels_last).attach(evaluator)
    ran = []
    evaluator.add_event_handler(Events.ITERATION_STARTED, lambda engine: ran.append(engine.network))
    torch.testing.assert_close(
        predictions(evaluator, image), expected, rtol=0, atol=1e-10 * expected.abs().max().item()
    )
    assert evaluator.network is network
    (fast,) = ran
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    weight = fast.get_parameter("output.fuse.conv.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last


def test_each_run_takes_the_weights_of_its_moment(network):
    evaluator, image = Evaluator(network), torch.rand(1, 3, 32, 32, dtype=torch.float64)
    FastInference().attach(evaluator)
    first = predictions(evaluator, image)
    with torch.no_grad():
        network.output.logits.bias.add_(1)
    torch.testing.assert_close(predictions(evaluator, image), first + 1, rtol=0, atol=1e-8)


def test_a_run_that_failed_costs_the_next_one_nothing(network):
    evaluator, image = Evaluator(network), torch.rand(1, 3, 32, 32, dtype=torch.float64)
    fast = FastInference()
    fast.attach(evaluator)
    with pytest.raises(ValueError, match="image must be"):
        predictions(evaluator, image[:, :2])
    assert evaluator.network is not network  # its run never ended
    fast.start(evaluator)
    fast.stop(evaluator)
    assert evaluator.network is network


def test_compiler_gets_the_folded_network_and_what_it_makes_is_run(network, monkeypatch, caplog):
    compiled = []

    def compile(module, **kwargs):
        compiled.append((module, kwargs))
        return nn.Sequential(module)

    monkeypatch.setattr(torch, "compile", compile)
    evaluator, image = Evaluator(network), torch.rand(1, 3, 32, 32, dtype=torch.float64)
    expected = predictions(evaluator, image)
    FastInference(compile=True).attach(evaluator)
    output = predictions(evaluator, image)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-10 * expected.abs().max().item())
    ((module, kwargs),) = compiled
    assert not any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    assert kwargs == {"mode": None}
    assert "for a CPU takes many minutes" in caplog.text


def test_layout_is_changed_only_if_asked():
    conv = nn.Conv2d(4, 4, 3)
    assert use_channels_last(conv, False) is conv and conv.weight.is_contiguous()
    assert use_channels_last(conv, True).weight.is_contiguous(memory_format=torch.channels_last)

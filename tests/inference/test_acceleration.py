import copy
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from condseg_monai import ConDSeg, FastInference, OpenVINONetwork, use_channels_last

# Not importorskip: importing OpenVINO as it is sends telemetry.
# And in a process of its own: a worker of pytest-xdist that had OpenVINO loaded crashed once when it started another.
needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None or "PYTEST_XDIST_WORKER" in os.environ,
    reason="needs the extra openvino, and one process (-n 0)",
)


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


@pytest.mark.parametrize("channels_last", [False, "true"])
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
    assert weight.is_contiguous(memory_format=torch.channels_last) is bool(channels_last)


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
    FastInference(compile="TRUE").attach(evaluator)
    output = predictions(evaluator, image)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-10 * expected.abs().max().item())
    ((module, kwargs),) = compiled
    assert not any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    assert kwargs == {"mode": None}
    assert "for a CPU takes many minutes" in caplog.text


@needs_openvino
def test_openvino_predicts_the_same_masks_and_pytorch_the_regions():
    torch.manual_seed(0)
    network = ConDSeg(encoder="resnet18", decoder_channels=16).eval()
    evaluator = Evaluator(network)
    ran = []
    evaluator.add_event_handler(Events.ITERATION_STARTED, lambda engine: ran.append(engine.network))
    FastInference(openvino="true", channels_last=True).attach(evaluator)
    for image in (torch.rand(2, 3, 48, 33), torch.rand(1, 3, 32, 32)):  # the last batch is smaller
        with torch.no_grad():
            expected = network(image)
        scale = expected.abs().max().item()
        torch.testing.assert_close(predictions(evaluator, image), expected, rtol=0, atol=1e-4 * scale)
    assert isinstance(ran[0], OpenVINONetwork) and evaluator.network is network
    regions = ran[0].predict_regions(image).regions
    torch.testing.assert_close(regions, network.predict_regions(image).regions, rtol=0, atol=1e-3)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ran[0].nothing


@needs_openvino
def test_openvino_fills_a_smaller_batch_up_and_compiles_for_a_larger_one():
    torch.manual_seed(0)
    convolution = nn.Conv2d(2, 3, 3)
    network = OpenVINONetwork(convolution)
    ran = []
    for images in (2, 1, 2, 3, 1):
        image = torch.rand(images, 2, 6, 5, requires_grad=True)
        torch.testing.assert_close(network(image), convolution(image).detach(), rtol=0, atol=1e-5)
        ((batch, compiled),) = network._compiled.values()
        ran.append((batch, id(compiled)))
    assert [batch for batch, _ in ran] == [2, 2, 2, 3, 3]
    assert len(set(ran)) == 2


@needs_openvino
def test_openvino_keeps_the_sizes_used_last():
    network = OpenVINONetwork(nn.Conv2d(1, 1, 1))
    for width in (1, 2, 3, 1, 4, 5):
        network(torch.rand(1, 1, 1, width))
    assert [size[-1] for size in network._compiled] == [3, 1, 4, 5]


@needs_openvino
def test_a_copy_of_an_openvino_network_runs():
    network, image = OpenVINONetwork(nn.Conv2d(1, 1, 1)), torch.rand(1, 1, 4, 4)
    expected = network(image)
    copied = copy.deepcopy(network)
    torch.testing.assert_close(copied(image), expected)
    assert copied.network is not network.network


SILENT = """
import sys
def no_connection(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen"):
        print(event, arguments, flush=True)
        raise OSError("no connections")
import torch
from condseg_monai.inference.openvino_network import OpenVINONetwork
assert "openvino" not in sys.modules
network = OpenVINONetwork(torch.nn.Conv2d(1, 1, 1))
sys.addaudithook(no_connection)
network(torch.rand(1, 1, 4, 4))
assert "openvino" in sys.modules
assert not any(name.startswith(("openvino_telemetry", "openvino.tools.ovc")) for name in sys.modules)
"""


@needs_openvino
def test_openvino_sends_nothing_and_leaves_no_identity(monkeypatch, tmp_path):
    for name in ("CI", "TF_BUILD", "JENKINS_URL"):  # where telemetry would be off anyway
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    run = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    assert not (tmp_path / "intel").exists()


def test_openvino_and_a_mixed_precision_are_refused_at_the_start(monkeypatch):
    monkeypatch.setattr("condseg_monai.inference.openvino_network.find_spec", lambda name: name)
    with pytest.raises(ValueError, match="openvino runs the network in float32, precision is bfloat16"):
        FastInference(openvino=True, precision="bfloat16")
    FastInference(precision="bfloat16")
    assert FastInference(openvino="yes", precision="float32").openvino


def test_without_openvino_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("condseg_monai.inference.openvino_network.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "condseg_monai\[openvino\]"'):
        FastInference(openvino=True)


def test_openvino_is_for_the_cpu_and_instead_of_a_compiler(monkeypatch):
    monkeypatch.setattr("condseg_monai.inference.openvino_network.find_spec", lambda name: name)
    with pytest.raises(ValueError, match="choose one"):
        FastInference(compile=True, openvino=True)
    with pytest.raises(ValueError, match="it is on meta: add --device cpu"):
        OpenVINONetwork(nn.Conv2d(1, 1, 1, device="meta"))


def test_layout_is_changed_only_if_asked():
    conv = nn.Conv2d(4, 4, 3)
    assert use_channels_last(conv, "false") is conv and conv.weight.is_contiguous()
    assert use_channels_last(conv, True).weight.is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match="channels_last must be true or false, got 'maybe'"):
        use_channels_last(conv, "maybe")
    with pytest.raises(ValueError, match="compile must be true or false"):
        FastInference(compile="maybe")

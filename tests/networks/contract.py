"""What every network here promises; a new network subclasses :class:`NetworkContract` in a few lines."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

SIZES = ((64, 64, 2), (47, 90, 1), (33, 40, 3))  # height, width, batch


class NetworkContract:
    """Tests of ``build(in_channels=..., out_channels=...)``, a network for images of any size from 16 on."""

    stride = 16
    scriptable = True
    export_from: int | None = None  # smallest side that an export serves; None for one pixel above the stride
    export_example = (64, 80)
    export_sizes = SIZES

    def build(self, **arguments) -> nn.Module:
        raise NotImplementedError

    def to_export(self, network: nn.Module) -> nn.Module:
        """What the test of ``torch.export`` exports, whose time grows with every operation."""
        return network

    def train_outputs(self, output) -> list[Tensor]:
        """The tensors of a train-mode output."""
        return [output]

    def image(self, height: int, width: int, *, batch: int = 2, channels: int = 3) -> Tensor:
        return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(0))

    @pytest.fixture(scope="class")
    @classmethod
    def evaluated(cls) -> nn.Module:
        """The network of seed 0, one for all tests: read it, do not change it."""
        torch.manual_seed(0)
        return cls().build().eval()

    @pytest.mark.parametrize("size", [(16, 16), (17, 33), (50, 31), (64, 48)])
    def test_any_size_gives_logits_of_that_size(self, evaluated, size):
        with torch.no_grad():
            assert evaluated(self.image(*size)).shape == (2, 1, *size)

    @pytest.mark.parametrize("size", [(33, 47), (64, 64)])
    def test_training_outputs_have_the_size_of_the_image(self, size):
        for output in self.train_outputs(self.build().train()(self.image(*size))):
            assert output.shape[2:] == size

    @pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (3, 4), (5, 2)])
    def test_channels(self, in_channels, out_channels):
        network = self.build(in_channels=in_channels, out_channels=out_channels).eval()
        with torch.no_grad():
            assert network(self.image(32, 32, channels=in_channels)).shape == (2, out_channels, 32, 32)

    def test_every_parameter_gets_a_gradient(self):
        torch.manual_seed(0)
        network = self.build().train()
        sum(output.square().mean() for output in self.train_outputs(network(self.image(64, 64)))).backward()
        without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert without == []

    def test_state_dict_round_trip_gives_the_same_logits(self, evaluated):
        torch.manual_seed(1)
        other = self.build().eval()
        image = self.image(32, 48)
        with torch.no_grad():
            assert not torch.equal(other(image), evaluated(image))
            other.load_state_dict(evaluated.state_dict())
            assert torch.equal(other(image), evaluated(image))

    def test_same_seed_gives_the_same_network(self, evaluated):
        torch.manual_seed(0)
        again = self.build().state_dict()
        assert all(torch.equal(value, again[key]) for key, value in evaluated.state_dict().items())

    def test_an_image_is_segmented_alike_in_any_batch(self, evaluated):
        image = self.image(32, 48, batch=3)
        with torch.no_grad():
            together = evaluated(image)
            alone = torch.cat([evaluated(one[None]) for one in image])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-4 * together.abs().max().item())

    @pytest.mark.parametrize("shape", [(2, 3, 15, 32), (2, 3, 32, 15), (2, 4, 32, 32), (3, 32, 32)])
    def test_an_image_it_cannot_take_raises(self, evaluated, shape):
        with pytest.raises(ValueError, match=r"image must be \(B, 3, H, W\) with H and W >= 16, got"):
            evaluated(torch.zeros(shape))

    @pytest.mark.parametrize("argument", ["in_channels", "out_channels"])
    def test_no_channels_raise(self, argument):
        with pytest.raises(ValueError, match="must be positive"):
            self.build(**{argument: 0})

    def test_unknown_encoder_names_the_known_ones(self):
        with pytest.raises(ValueError, match="resnet18, resnet34, resnet50, vgg19, pvt_v2_b2"):
            self.build(encoder="resnet19")

    def check_other_sizes(self, network: nn.Module, exported, sizes=SIZES) -> None:
        """``exported`` must serve sizes and batches other than its example's."""
        with torch.no_grad():
            for height, width, batch in sizes:
                image = self.image(height, width, batch=batch)
                torch.testing.assert_close(exported(image), network(image), rtol=1e-5, atol=1e-5)

    @pytest.mark.slow  # tests/bundle/test_methods.py has exported TorchScript
    def test_script_serves_other_sizes(self, evaluated):
        if not self.scriptable:
            pytest.skip("the encoder cannot be scripted")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            scripted = torch.jit.script(evaluated)
        self.check_other_sizes(evaluated, scripted)

    @pytest.mark.slow  # what can be scripted, above, serves other sizes too
    def test_trace_serves_other_sizes(self, evaluated):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            traced = torch.jit.trace(evaluated, self.image(64, 80), check_trace=False)  # checked below, on more
        self.check_other_sizes(evaluated, traced)

    @pytest.mark.slow  # trace and script, above, serve other sizes too
    @pytest.mark.timeout(900)  # of the clock: half a minute of work, which a busy machine makes ten
    def test_export_serves_other_sizes(self, evaluated):
        network = self.to_export(copy.deepcopy(evaluated))
        smallest = self.export_from or self.stride + 1
        sizes = {
            0: torch.export.Dim("batch"),
            2: torch.export.Dim("height", min=smallest, max=4096),
            3: torch.export.Dim("width", min=smallest, max=4096),
        }
        example = (self.image(*self.export_example),)
        program = torch.export.export(network, example, dynamic_shapes=(sizes,))
        self.check_other_sizes(network, program.module(), self.export_sizes)

"""TensorBoard panels."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from condseg_monai.data.images.normalization import normalize_image
from condseg_monai.reports.panels import RegionPanel, ViewPanel


class Writer:
    """Keep what TensorBoard would write."""

    def __init__(self):
        self.images = []

    def add_image(self, tag, picture, step):
        self.images.append((tag, picture, step))

    def flush(self):
        pass


class Regions(nn.Module):
    """Foreground 0.5, background 0.3, uncertainty 0.2 everywhere."""

    def predict_regions(self, image):
        assert not self.training
        probabilities = torch.tensor([0.5, 0.3, 0.2]).reshape(1, 3, 1, 1).expand(len(image), 3, *image.shape[2:])
        return SimpleNamespace(mask=None, regions=probabilities)


def engine_at(epoch, normalization="imagenet", count=3):
    image = torch.rand(3, 8, 10, generator=torch.Generator().manual_seed(0))
    item = {
        "image": normalize_image(image, normalization),
        "label": torch.ones(1, 8, 10),
        "pred": torch.zeros(1, 8, 10),
    }
    return SimpleNamespace(state=SimpleNamespace(epoch=epoch, output=[item] * count)), image


@pytest.mark.parametrize("normalization", ["imagenet", "released"])
def test_region_panel_shows_the_six_columns_of_each_image(normalization):
    writer, network = Writer(), Regions().train()
    engine, image = engine_at(1, normalization)
    RegionPanel(network, normalization=normalization, max_images=2, summary_writer=writer)(engine)
    ((tag, picture, step),) = writer.images
    assert (tag, step) == ("validation/image | label | prediction | foreground | background | uncertainty", 1)
    assert picture.shape == (3, 2 * 8, 6 * 10)
    columns = picture[:, :8].split(10, dim=2)
    torch.testing.assert_close(columns[0], image)
    for column, value in zip(columns[1:], (1.0, 0.0, 0.5, 0.3, 0.2), strict=True):
        torch.testing.assert_close(column, torch.full((3, 8, 10), value))
    torch.testing.assert_close(picture[:, 8:], picture[:, :8])
    assert network.training


def test_view_panel_shows_the_augmented_view():
    writer = Writer()
    engine, image = engine_at(1)
    ViewPanel(lambda images: 1 - images, max_images=1, summary_writer=writer)(engine)
    ((tag, picture, _),) = writer.images
    assert tag == "validation/image | augmented view | label | prediction"
    torch.testing.assert_close(picture[:, :, 10:20], 1 - image)


def test_view_panel_leaves_the_training_draws_alone():
    engine, _ = engine_at(1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    ViewPanel(lambda images: images * torch.rand(1), summary_writer=Writer())(engine)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("interval", "drawn"), [(1, [1, 2, 3, 4]), (3, [1, 3]), (0, [])])
def test_panel_is_drawn_in_the_first_and_every_nth_epoch(interval, drawn):
    writer = Writer()
    panel = RegionPanel(Regions(), interval=interval, summary_writer=writer)
    for epoch in range(1, 5):
        panel(engine_at(epoch)[0])
    assert [step for _, _, step in writer.images] == drawn


def test_values_out_of_range_raise():
    with pytest.raises(ValueError, match="interval must be >= 0"):
        RegionPanel(Regions(), interval=-1, summary_writer=Writer())


def test_class_numbers_get_a_colour_each_and_background_is_black():
    writer = Writer()
    engine, _ = engine_at(1, count=1)
    label = torch.arange(9.0).repeat_interleave(10)[:80].reshape(1, 8, 10)
    engine.state.output[0].update(label=label, pred=label.flip(1))
    ViewPanel(lambda images: images, summary_writer=writer)(engine)
    ((_, picture, _),) = writer.images
    shown = picture[:, :, 20:30]  # the third of four columns
    colours = {tuple(round(v, 3) for v in shown[:, label[0] == k].mean(dim=1).tolist()) for k in range(8)}
    assert len(colours) == 8 and (0.0, 0.0, 0.0) in colours
    torch.testing.assert_close(picture[:, :, 30:40].flip(1), shown)

"""Class names travel inside a network's state_dict."""

from __future__ import annotations

import doctest

import pytest
import torch
from torch import nn

from condseg_monai import ConDSeg, ConDSegStage1, DECSeg, class_names_of
from condseg_monai.networks import class_names as module

NAMES = ("background", "left kidney", "Öesophagus")


def stage1(class_names=NAMES):
    return ConDSegStage1(out_channels=3, encoder="resnet18", class_names=class_names)


def test_examples():
    assert doctest.testmod(module).failed == 0


def test_a_checkpoint_read_with_weights_only_replaces_the_names_of_the_network(tmp_path):
    torch.save(stage1().state_dict(), tmp_path / "model.pt")
    checkpoint = torch.load(tmp_path / "model.pt", weights_only=True)
    assert class_names_of(checkpoint) == NAMES
    network = stage1((NAMES[0], NAMES[2], NAMES[1]))
    network.load_state_dict(checkpoint)
    assert class_names_of(network) == NAMES


def test_names_are_found_inside_a_wrapper_and_after_a_change_of_type():
    assert class_names_of(nn.Sequential()) is None
    assert class_names_of(nn.DataParallel(stage1().half())) == NAMES


@pytest.mark.parametrize("network", [ConDSeg, DECSeg])
def test_every_network_of_several_classes_has_them(network):
    assert class_names_of(network(out_channels=3, encoder="resnet18", class_names=NAMES).state_dict()) == NAMES


def test_a_network_without_names_has_no_such_key():
    assert module.CLASS_NAMES_KEY not in stage1(None).state_dict()
    assert class_names_of(stage1(None)) is None


def test_a_scripted_network_keeps_the_key():
    with pytest.warns(DeprecationWarning):
        scripted = torch.jit.script(stage1().eval())
    assert class_names_of(dict(scripted.state_dict())) == NAMES


@pytest.mark.parametrize(
    ("names", "words"),
    [
        *(
            (names, "two or more different names")
            for names in [("background",), ("a", "a", "b"), ("a", "", "b"), "abc"]
        ),
        (("background", "lesion"), r"one per output channel \(3\), got \['background', 'lesion'\]"),
    ],
)
def test_bad_names_raise(names, words):
    with pytest.raises(ValueError, match=f"class_names must be {words}"):
        stage1(names)


def test_other_content_under_the_key_raises():
    with pytest.raises(ValueError, match="not a list of names in JSON"):
        class_names_of({module.CLASS_NAMES_KEY: torch.ones(3)})

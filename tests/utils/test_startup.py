import sys

import pytest
import torch

from condseg_monai import prepare_run


def test_random_numbers_are_seeded_where_there_is_a_seed():
    numbers = []
    for options in ({"seed": 3}, {"seed": 3}, {"epochs": 1}):
        prepare_run(options)
        numbers.append(torch.rand(1))
    assert numbers[0] == numbers[1] != numbers[2]


def test_unknown_option_of_the_command_line_stops_the_run(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/x/monai/bundle/__main__.py", "run", "--batch_sise", "2"])
    with pytest.raises(ValueError, match=r"no such option: batch_sise \(did you mean batch_size\?\)"):
        prepare_run({})

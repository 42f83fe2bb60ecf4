"""The commands that measure run, at sizes that take seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

TINY = ["--encoder", "resnet18", "--decoder_channels", "4", "--repeats", "1"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["benchmarks", "--jobs", "stage1", "inference-paper", "--size", "32", *TINY],
            "| inference-paper | channels_last |",
        ),
        (["benchmarks.pipeline", "--images", "4", "--image_size", "32", "--num_workers", "0", *TINY], "% of that"),
        (["benchmarks.volume_memory", "--slices", "2", "3", "--size", "32", "--image_size", "32"], "volumes differ by"),
    ],
    ids=["networks", "pipeline", "volumes"],
)
def test_command_prints_its_table(words, expected):
    result = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    assert result.returncode == 0 and expected in result.stdout, result.stderr

"""The commands that measure growth and the pipeline run, at sizes that take seconds."""

from __future__ import annotations

import pytest
from PIL import Image

from benchmarks import growth, pipeline
from benchmarks.figure import draw_charts


def test_growth_of_a_folder_is_measured_and_drawn(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.argv", ["growth", "--point", "images", "3", "--clock", "cpu"])
    growth.main()
    seconds, megabytes = map(float, capsys.readouterr().out.splitlines()[-1].strip("[]").split(","))
    assert seconds > 0 and megabytes > 100
    monkeypatch.setattr(growth, "in_a_fresh_process", lambda name, value, options: (value / 2, 300.0))
    words = ["growth", "--only", "images", "--values", "10", "20", "--output_dir", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    growth.main()
    with Image.open(tmp_path / "growth_images.png") as image:
        assert image.width == 3 * image.height


def test_pipeline_is_held_against_the_network_alone(monkeypatch, capsys):
    words = "--images 2 --image_size 32 --batch_size 1 --num_workers 0 --encoder resnet18 --decoder_channels 4"
    monkeypatch.setattr("sys.argv", ["pipeline", *words.split(), "--repeats", "1"])
    pipeline.main()
    alone, whole = capsys.readouterr().out.splitlines()[-2:]
    assert alone.endswith("images/s") and "% of that" in whole


@pytest.mark.parametrize("largest", [0.03, 7.0, 10000.0])
def test_a_chart_of_any_magnitude_is_drawn(tmp_path, largest):
    draw_charts(tmp_path / "chart.png", "x", {"y": [(largest / 2, largest), (largest, largest / 3)]})
    with Image.open(tmp_path / "chart.png") as image:
        assert len(image.convert("RGB").getcolors()) > 3

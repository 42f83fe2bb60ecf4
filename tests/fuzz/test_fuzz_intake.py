"""Fuzzing of the image reader: every file ends in a clean error or an image."""

from collections import Counter

import numpy as np
import pytest

from condseg_monai.data.images.image_reader import read_natural_image
from tests.fuzz import fuzz_files, fuzz_intake
from tests.fuzz.fuzz_files import make_file, sound_files

COUNT = 300
SEED = 20


@pytest.mark.filterwarnings("ignore")
def test_every_file_ends_in_a_clean_error_or_an_image(tmp_path):
    outcomes = Counter()
    for index in range(COUNT):
        file = make_file(SEED, index, largest_side=1500)
        path = tmp_path / file.name
        path.write_bytes(file.content)
        outcome = fuzz_intake.read_as_user(path)
        assert outcome in fuzz_intake.GOOD, f"{file.name} ({file.kind}, seed {SEED}): {outcome}"
        outcomes[file.kind, outcome] += 1
    assert {kind for kind, _ in outcomes} == set(fuzz_files._KINDS)
    assert sum(count for (_, outcome), count in outcomes.items() if outcome == "image") > 30
    assert sum(count for (_, outcome), count in outcomes.items() if outcome == "error") > 100


@pytest.mark.parametrize("name", sound_files())
def test_the_files_it_starts_from_are_read(tmp_path, name):
    (tmp_path / "a").write_bytes(sound_files()[name])
    assert read_natural_image(tmp_path / "a").shape in ((29, 37, 3), (37, 29, 3))


def test_files_depend_on_seed_and_number_alone():
    assert make_file(1, 5, 1500) == make_file(1, 5, 1500) != make_file(2, 5, 1500)


@pytest.mark.parametrize(
    "result, outcome",
    [
        (np.zeros((2, 3)), "unexpected array (2, 3) float64"),
        (np.full((2, 3, 3), np.nan, dtype=np.float32), "values out of range"),
        (RuntimeError("boom"), "unexpected RuntimeError"),
    ],
)
def test_what_is_neither_image_nor_clean_error_is_noticed(tmp_path, monkeypatch, result, outcome):
    def read(*_):
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr("condseg_monai.data.images.image_reader.read_natural_image", read)
    assert fuzz_intake.read_as_user(tmp_path / "a.png") == outcome


def test_command_counts_outcomes_and_names_failures(capsys, monkeypatch):
    monkeypatch.setattr(fuzz_intake, "read_as_user", lambda path: "boom" if "00002" in path.name else "image")
    assert fuzz_intake.main(["--count", "6", "--seed", "1", "--largest_side", "1500"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any("FAILED 00002" in line and line.endswith("seed 1): boom") for line in lines)
    assert sum(int(line.split()[-1]) for line in lines if " image " in line) == 5

import sys
from collections import Counter
from pathlib import Path

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


def test_crashes_and_hangs_cost_one_file_each(tmp_path):
    """A process that dies at file 1 and sleeps at file 3; file 5 takes its time but not the processor's."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import os, sys, time\n"
        "print('ready', flush=True)\n"
        "for i in range(int(sys.argv[1]), int(sys.argv[2])):\n"
        "    if i == 1: os.kill(os.getpid(), 9)\n"
        "    if i == 3: time.sleep(100)\n"
        "    for _ in range(8 if i == 5 else 0): time.sleep(1), sum(range(1_000_000))\n"
        "    print(i, 'image', 0.5, 10, sep='\\t', flush=True)\n"
    )
    results = fuzz_intake.supervise([sys.executable, str(script)], 0, 6, timeout_s=5, start_timeout_s=60)
    assert [result.number for result in results] == list(range(6))
    assert [result.outcome for result in results] == [
        "image",
        "crash (exit code -9)",
        "image",
        "hang",
        "image",
        "image",
    ]


def test_command_reports_counts(capsys, monkeypatch):
    def supervise(command, start, stop, *_, **__):
        folder = Path(command[command.index("--worker") + 1])
        assert len(list(folder.iterdir())) == stop
        return [fuzz_intake.Result(i, "image" if i else "hang", 0.1, 5) for i in range(stop)]

    monkeypatch.setattr(fuzz_intake, "supervise", supervise)
    assert fuzz_intake.main(["--count", "6", "--seed", "1", "--largest_side", "1500"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "FAILED 00000" in lines[-1] and "slowest file 0.1 s of CPU time, most memory for one file 5 MiB" in lines
    assert next(line for line in lines if line.startswith("all")).split() == ["all", "6:", "1", "hang,", "5", "image"]

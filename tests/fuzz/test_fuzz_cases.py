import numpy as np
import pytest

from tests.fuzz import fuzz_cases
from tests.fuzz.fuzz_cases import Kind, damage, outcome_of, sound_kinds

pytest.importorskip("pydicom")
pytest.importorskip("h5py")
KINDS = ("nifti", "dicom", "npz", "h5", "list", "checkpoint", "card")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    return sound_kinds(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", KINDS)
def test_files_it_starts_from_are_read(kinds, name):
    assert kinds.keys() == set(KINDS)
    assert [outcome_of(kinds[name], path) for path in kinds[name].files] == ["read"] * len(kinds[name].files)


@pytest.mark.parametrize("name", KINDS)
def test_damage_of_every_kind_ends_in_a_clean_error_or_a_value(capsys, name):
    assert fuzz_cases.main(["--count", "20", "--seed", "3", "--kinds", name]) == 0, capsys.readouterr().out


def test_damage_depends_on_the_seed_alone():
    content = bytes(range(256))
    assert damage(content, np.random.default_rng(4)) == damage(content, np.random.default_rng(4)) != content


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("odd"), "no name: ValueError odd"),
        (ValueError("odd: a.nii"), "error"),
        (KeyError("odd"), "unexpected KeyError: 'odd'"),
    ],
)
def test_what_is_no_clean_error_is_noticed(tmp_path, error, outcome):
    def read(_):
        raise error

    assert outcome_of(Kind([], read), tmp_path / "a.nii") == outcome

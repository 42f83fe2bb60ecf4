import json

import pytest
from monai.bundle import ConfigParser

from condseg_monai import check_knobs

CONFIG = {
    "learning_rate": 0.1,
    "optimizer": {"_target_": "SGD", "lr": "@learning_rate"},
    "run": [],
}


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "configs").mkdir()
    for name, config in (("train", CONFIG), ("inference", {"save_overlay": False})):
        (tmp_path / "configs" / f"{name}.json").write_text(json.dumps(config))
    return tmp_path


def test_misspelt_knob_is_refused_with_the_one_it_looks_like(bundle):
    parser = ConfigParser({**CONFIG, "learning_rat": 0.2})
    with pytest.raises(ValueError, match=r"no such knob: learning_rat \(did you mean learning_rate\?\); docs/README"):
        check_knobs(parser, bundle)


@pytest.mark.parametrize(
    "given",
    [
        {"learning_rate": 0.2},
        {"save_overlay": True},  # of another file of the bundle
        {"my_rate": 0.2, "learning_rate": "$@my_rate / 2"},
        {"my_rate": 0.2, "optimizer": {"_target_": "SGD", "lr": "@my_rate"}},
        {"run_name": "2026"},  # left behind by a program that runs the bundle
        {"learning_rates": 0.2, "learning_rate": "$@learning_rates / 2"},
        {"my_run": ["$print(1)"], "my_step": "$print(1)", "runs": [], "_meta_": {"version": "1"}},
    ],
)
def test_what_something_reads_or_looks_like_no_knob_passes(bundle, given):
    check_knobs(ConfigParser({**CONFIG, **given}), bundle)


def test_without_files_to_compare_with_nothing_is_refused(tmp_path):
    check_knobs(ConfigParser({"learning_rat": 1}), tmp_path)
    check_knobs(None, tmp_path)

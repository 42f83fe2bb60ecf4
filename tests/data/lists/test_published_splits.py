import configparser
import hashlib
from importlib.resources import files
from pathlib import Path

import pytest

from condseg_monai.data.lists import published_splits as module
from condseg_monai.data.lists.published_splits import PUBLISHED_LISTS, published_list

EVERY_LIST = [(dataset, split) for dataset, lists in PUBLISHED_LISTS.items() for split in lists]


@pytest.mark.parametrize("dataset, split", EVERY_LIST)
def test_list_has_its_length_and_its_hash(dataset, split):
    known = PUBLISHED_LISTS[dataset][split]
    ids = published_list(dataset, split)
    assert len(ids) == len(set(ids)) == known.cases
    content = files("condseg_monai.data.lists").joinpath("splits").joinpath(known.file).read_bytes()
    assert hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest() == known.sha256


@pytest.mark.parametrize("dataset", PUBLISHED_LISTS)
def test_lists_of_a_data_set_do_not_overlap(dataset):
    ids = [name for split in PUBLISHED_LISTS[dataset] for name in published_list(dataset, split)]
    assert len(ids) == len(set(ids))


def test_lists_are_installed_with_the_package():
    root = Path(module.__file__).parents[2]
    setup = configparser.ConfigParser()
    setup.read(root.parent / "setup.cfg", encoding="utf-8")
    packaged = {path for line in setup["options.package_data"]["condseg_monai"].split() for path in root.glob(line)}
    used = {known.file for lists in PUBLISHED_LISTS.values() for known in lists.values()}
    assert {root / "data" / "lists" / "splits" / name for name in used} <= packaged


def test_sizes_are_those_of_the_papers():
    sizes = {name: {split: known.cases for split, known in lists.items()} for name, lists in PUBLISHED_LISTS.items()}
    assert sizes == {
        "kvasir-seg": {"train": 880, "val": 120},
        "glas": {"train": 85, "test": 80},
        "isic2016": {"train": 900, "test": 379},
        "isic2017": {"train": 2000, "val": 150},
        "synapse": {"train": 2211, "test": 12},
    }


def test_overlap_between_the_isic_years_is_as_measured():
    shared = set(published_list("isic2016", "test")) & set(published_list("isic2017", "train"))
    assert len(shared) == 305


def test_a_changed_list_is_refused(monkeypatch):
    changed = PUBLISHED_LISTS["glas"]["train"]._replace(sha256="0" * 64)
    monkeypatch.setitem(module.PUBLISHED_LISTS, "glas", {"train": changed})
    with pytest.raises(ValueError, match=r"glas_train\.txt was changed"):
        published_list("glas", "train")


def test_unknown_list_raises():
    with pytest.raises(ValueError, match="no published test list of 'kvasir-seg'"):
        published_list("kvasir-seg", "test")


def test_seeded_order_is_fixed_by_names_and_seed_alone():
    names = [f"case{i}" for i in range(10)]
    order = module.seeded_order(names, 0)
    assert order == module.seeded_order(reversed(names), 0) == sorted(order, key=lambda n: _digest(f"0 {n}"))
    assert order != module.seeded_order(names, 1) and sorted(order) == names
    assert order[:3] == ["case4", "case3", "case2"]  # for i in 0 1 ... 9: printf "0 case$i" | sha256sum, sorted


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

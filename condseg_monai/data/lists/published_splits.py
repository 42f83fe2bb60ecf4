"""The lists that papers compare on, as package data, and how lists of our own are drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.resources import files
from typing import NamedTuple

__all__ = ["PUBLISHED_LISTS", "PublishedList", "list_sha256", "published_list", "seeded_order"]

_ISIC = "ids of the organisers' Part 3 CSV (the images are those of Part 1), as copied in "


class PublishedList(NamedTuple):
    """Where a list comes from.

    Attributes:
        file: its name in ``condseg_monai/data/lists/splits``.
        cases: how many lines it has.
        sha256: :func:`list_sha256` of its lines.
        source: repository and commit, or how it came about.
    """

    file: str
    cases: int
    sha256: str
    source: str


PUBLISHED_LISTS: dict[str, dict[str, PublishedList]] = {
    "kvasir-seg": {
        "train": PublishedList(
            "kvasir_seg_train.txt",
            880,
            "49992c7c6c80abf02032050d4ae754236da3ba1041f609659ad0043ff6d1795c",
            "DebeshJha/ColonSegNet train.txt @ d8f782f",
        ),
        "val": PublishedList(
            "kvasir_seg_val.txt",
            120,
            "d9b48bd3d980324edb39df97764fdbb5489b2583f088fb49c659b76f6d20876b",
            "DebeshJha/ColonSegNet val.txt @ d8f782f",
        ),
    },
    "glas": {
        "train": PublishedList(
            "glas_train.txt",
            85,
            "7c3719a0353451e76137030434addecdac115b6ee2a6718ed3d4d486f72f929b",
            "the names in the organisers' archive: train_1 to train_85",
        ),
        "test": PublishedList(
            "glas_test.txt",
            80,
            "983bdd0335df9e8e41b217b10f45e156fa8fa0c31f76629246c163fb1a6d82c9",
            "the names in the organisers' archive: testA_1 to testA_60 and testB_1 to testB_20",
        ),
    },
    "isic2016": {
        "train": PublishedList(
            "isic2016_train.txt",
            900,
            "d5aedc85d501612da7d55a1c129f20a51acd38de22f2ef758665c6b62aef6296",
            _ISIC + "pavankumarudhayagiri-wq/skincancer @ fbe555b",
        ),
        "test": PublishedList(
            "isic2016_test.txt",
            379,
            "3ace987a67d6b803eba5dcdc7c5b3d62700e164d2e5e6866230b98572dd68d81",
            _ISIC + "lzh19961031/Dermoscopy_classification @ 32a3bf6",
        ),
    },
    "isic2017": {
        "train": PublishedList(
            "isic2017_train.txt",
            2000,
            "08db813d9845271635715430a30a3661b7dd6299f23161b41d9932b047f43c80",
            _ISIC + "datascisteven/Melanoma-Image-Classification @ 49278ed",
        ),
        "val": PublishedList(
            "isic2017_val.txt",
            150,
            "935f4b2717349177a2f70cce2946b37bd99b5eca4ed4047254e057249c6ebb09",
            _ISIC + "soumyavishwakarma/MelanomaDetection @ dca7c90",
        ),
    },
    "synapse": {
        "train": PublishedList(
            "synapse_train.txt",
            2211,
            "2a3afc3b126f560d023c09e9a943e31c9ab95cea544afa69bf6b39f80ade59f5",
            "slices of 18 cases: Beckschen/TransUNet lists/lists_Synapse/train.txt @ 02ef001",
        ),
        "test": PublishedList(
            "synapse_test.txt",
            12,
            "7a1cdb883ad2f76f79cb922cee782eb8618ee7a72e75b640bbcee1367d66c2a6",
            "cases: Beckschen/TransUNet lists/lists_Synapse/test_vol.txt @ 02ef001",
        ),
    },
}
"""Data set -> split -> list; both names as ``python -m condseg_monai prepare`` has them."""


def published_list(dataset: str, split: str) -> list[str]:
    """Read a published list.

    Args:
        dataset: a key of :data:`PUBLISHED_LISTS`.
        split: a key below it.

    Returns:
        The ids, stems of the images, in the order they were published in.

    Raises:
        ValueError: if there is no such list, or the file is not the one whose hash is recorded.
    """
    known = PUBLISHED_LISTS.get(dataset, {}).get(split)
    if known is None:
        raise ValueError(f"there is no published {split} list of {dataset!r}")
    text = files("condseg_monai.data.lists").joinpath("splits").joinpath(known.file).read_text(encoding="utf-8")
    ids = text.splitlines()
    if list_sha256(ids) != known.sha256:
        raise ValueError(f"condseg_monai/data/lists/splits/{known.file} was changed: its hash is not {known.sha256}")
    return ids


def list_sha256(ids: Iterable[str]) -> str:
    """SHA-256 of a list as a file: a line each, LF line ends, in hexadecimal."""
    return hashlib.sha256("".join(f"{name}\n" for name in ids).encode()).hexdigest()


def seeded_order(names: Iterable[str], seed: int) -> list[str]:
    """Shuffle names in a way that no version of any library changes: by the SHA-256 of ``"{seed} {name}"``.

    Args:
        names: in any order, which does not matter.
        seed: another seed, another order.
    """
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())

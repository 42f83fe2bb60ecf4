"""Semi-supervised datalists: which training images have labels, and a placeholder where there is none."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from condseg_monai.data.lists.datalist import check_files, datalist_hash
from condseg_monai.data.lists.pairing import Case, case_name, pair, raise_if_any, read_lists

__all__ = ["PlaceholderLabeld", "semi_supervised_datalists"]

_LISTS = ("labeled", "unlabeled")
_LAYOUT = (
    "semi-supervised training reads labeled.txt and unlabeled.txt, or train.txt with --labeled_fraction (a share such "
    "as 0.25), and val.txt"
)


def semi_supervised_datalists(
    dataset_dir: str | PathLike[str],
    split: str = "val",
    labeled_fraction: float | None = None,
    seed: int = 0,
    mask_threshold: float | None = None,
    check: bool = True,
    mask_suffix: str = "",
) -> dict[str, list[Case]]:
    """List the labelled, the unlabelled and the validation cases, after checking them.

    Training images come from ``labeled.txt`` and ``unlabeled.txt`` or, with ``labeled_fraction``, in (0, 1], from
    ``train.txt``: that share of its names (rounded, at least one) is drawn by ``seed``. An unlabelled image needs no
    mask. The lists must have no case in common. ``split`` is ``"val"``, ``"test"`` or another; ``mask_threshold``,
    ``check`` and ``mask_suffix`` are those of :func:`~condseg_monai.data.check_datalist`.

    Returns:
        ``"labeled"`` and ``split``: ``{"image": path, "label": path}`` a case; ``"unlabeled"``: ``{"image": path}``.

    Raises:
        DatasetError: listing every bad case.
        ValueError: if ``split`` or ``labeled_fraction`` is out of range.
    """
    if split in ("train", *_LISTS):
        raise ValueError(f"split must be val, test or another list that is not trained on, got {split!r}")
    if labeled_fraction is not None and not 0 < labeled_fraction <= 1:
        raise ValueError(f"labeled_fraction must be in (0, 1], got {labeled_fraction}")
    root = Path(dataset_dir)
    names = (*(_LISTS if labeled_fraction is None else ("train",)), split)
    lists = read_lists(root, names, ("val", "test"), _LAYOUT, mask_suffix=mask_suffix)
    chosen = {name: lists.stems.get(name, []) for name in _LISTS}
    if labeled_fraction is not None and lists.stems.get("train"):
        chosen = _choose(lists.stems["train"], labeled_fraction, seed)
    pairing = pair(lists, {**chosen, split: lists.stems.get(split, [])}, without_mask=("unlabeled",))
    if check:
        check_files(root, pairing, mask_threshold)
    raise_if_any(root, pairing.problems)
    _log_choice(root, pairing.cases, labeled_fraction, seed)
    return pairing.cases


def _choose(stems: list[str], fraction: float, seed: int) -> dict[str, list[str]]:
    names = sorted(set(stems))
    count = max(1, round(fraction * len(names)))
    drawn = {names[i] for i in np.random.default_rng(seed).permutation(len(names))[:count]}
    return {"labeled": sorted(drawn), "unlabeled": [name for name in names if name not in drawn]}


def _log_choice(root: Path, cases: Mapping[str, list[Case]], fraction: float | None, seed: int) -> None:
    labeled, unlabeled = cases["labeled"], cases["unlabeled"]
    share = len(labeled) / (len(labeled) + len(unlabeled))
    how = "by labeled.txt and unlabeled.txt"
    if fraction is not None:
        how = f"drawn from train.txt with labeled_fraction {fraction:g} and seed {seed}"
    logging.getLogger(__name__).info(
        f"{root}: {len(labeled)} labelled and {len(unlabeled)} unlabelled cases ({share:.1%} labelled), {how}; "
        f"SHA-256 {datalist_hash(labeled)} and {datalist_hash(unlabeled)}; labelled: "
        + ", ".join(map(case_name, labeled))
    )


class PlaceholderLabeld(MapTransform):
    """Give a case without a label one of NaN, ``(1, H, W)`` as its image ``reference``; ``flag`` says if it is real.

    Example:
        >>> case = PlaceholderLabeld("label")({"image": torch.zeros(3, 4, 4)})
        >>> case["labeled"], case["label"].shape, bool(case["label"].isnan().all())
        (False, torch.Size([1, 4, 4]), True)
    """

    def __init__(self, keys: KeysCollection, reference: str = "image", flag: str = "labeled") -> None:
        super().__init__(keys)
        self.reference, self.flag = reference, flag

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with a label and the flag."""
        case = dict(data)
        case[self.flag] = all(key in case for key in self.keys)
        for key in self.keys:
            if key not in case:
                case[key] = torch.full((1, *case[self.reference].shape[1:]), torch.nan)
        return case

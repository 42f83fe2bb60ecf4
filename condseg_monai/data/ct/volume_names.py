"""Names of CT volumes and of their labels: which belong together."""

from __future__ import annotations

import re
from collections.abc import Container

from condseg_monai.data.lists.pairing import name_key

__all__: list[str] = []

_WORD = r"(?<![A-Za-z])(?i:{})(?![a-z])"
_IMAGE_WORDS = re.compile(_WORD.format("images?|imaging|imgs?|cts?|volumes?|scans?"))
_LABEL_WORDS = re.compile(_WORD.format("labels?|segmentations?|segs?|masks?|gts?"))
_TRANSUNET_CASE = re.compile(r"(?<![^/_])case(?=\d{4}$)")  # of BTCV's img0001 and label0001
_CHANNEL = "_0000"  # nnU-Net's first channel, which images have and labels have not


def is_label_name(name: str) -> bool:
    """Whether a path has ``label``, ``segmentation``, ``seg``, ``mask`` or ``gt`` as a word."""
    return _LABEL_WORDS.search(name) is not None


def case_key(name: str) -> str:
    """What the paths of an image and of its label have in common: both without the words for image and label.

    The words are those of :func:`is_label_name`, and ``image``, ``imaging``, ``img``, ``ct``, ``volume``, ``scan``;
    TransUNet's ``case0001`` is BTCV's ``img0001``.

    Example:
        >>> case_key("imagesTr/liver_7"), case_key("s0001/ct"), case_key("label0001"), case_key("case0001")
        ('Tr/liver_7', 's0001', '0001', '0001')
    """
    key = _TRANSUNET_CASE.sub("", _IMAGE_WORDS.sub("", _LABEL_WORDS.sub("", name_key(name))))
    return re.sub(r"[\W_]*/[\W_]*|^[\W_]+", "/", key).strip("/_-. ")


def label_key(key: str, labels: Container[str]) -> str:
    """The key of the label of an image with ``key``: the same, or where no label has it that without ``_0000``."""
    return key if key in labels else key.removesuffix(_CHANNEL)

import doctest

import numpy as np
import pytest

from condseg_monai.data.ct import synapse as module
from condseg_monai.data.ct.synapse import BTCV_ORGANS, SYNAPSE_ORGANS, btcv_label_map, synapse_class_names, window_ct


def test_examples():
    assert doctest.testmod(module).failed == 0


def test_both_orders_name_the_same_eight_organs_of_btcv():
    transunet, samed = (set(SYNAPSE_ORGANS[order]) for order in ("transunet", "samed"))
    assert transunet == samed and len(transunet) == 8 and transunet < set(BTCV_ORGANS)


@pytest.mark.parametrize(
    ("order", "published"),
    [
        ("transunet", {8: 1, 4: 2, 3: 3, 2: 4, 6: 5, 11: 6, 1: 7, 7: 8}),
        ("samed", {1: 1, 2: 2, 3: 3, 4: 4, 6: 5, 7: 6, 8: 7, 11: 8}),
    ],
)
def test_label_map_is_the_published_one(order, published):
    assert btcv_label_map(order).tolist() == [published.get(label, 0) for label in range(14)]


def test_label_map_keeps_every_name():
    table, names = btcv_label_map("transunet"), synapse_class_names("transunet")
    assert [names[table[i]] for i, organ in enumerate(BTCV_ORGANS, 1) if organ in names] == [
        organ for organ in BTCV_ORGANS if organ in names
    ]


def test_unknown_order_names_the_known_ones():
    with pytest.raises(ValueError, match="organ_order must be one of transunet, samed, got 'btcv'"):
        synapse_class_names("btcv")


def test_window_does_not_change_its_argument_and_takes_any_type():
    volume = np.array([[-1024, 0], [275, 3071]], dtype=np.int16)
    scaled = window_ct(volume)
    assert scaled.dtype == np.float32 and scaled.tolist() == [[0.0, 0.3125], [1.0, 1.0]]
    assert volume.tolist() == [[-1024, 0], [275, 3071]]
    assert window_ct(volume.astype(np.float64), (0, 1000)).tolist() == [[0.0, 0.0], [pytest.approx(0.275), 1.0]]


@pytest.mark.parametrize("window", [(275, -125), (0,), (0, float("inf"))])
def test_no_window_raises(window):
    with pytest.raises(ValueError, match="window_hu must be two finite numbers, the lower first"):
        window_ct(np.zeros(2), window)

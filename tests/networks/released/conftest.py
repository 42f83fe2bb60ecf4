from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def two_threads():
    """As many as the stored numbers were computed with: sums split otherwise round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)

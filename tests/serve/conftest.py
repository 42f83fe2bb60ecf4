from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from condseg_monai import Segmenter
from condseg_monai.serve.app import Limits, make_app
from tests.bundle.models import save_model

ORGANS = ("background", "liver", "spleen", "aorta", "left kidney")


def png(array: np.ndarray) -> bytes:
    """A picture as the content of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def image_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("image_model"), threshold=0.45)


@pytest.fixture(scope="session")
def ct_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ct_model")
    return save_model(folder, kind="ct", class_names=ORGANS, window_hu=(-125.0, 275.0))


@pytest.fixture
def client() -> Any:
    """Make a client of a service of a model, or of a Segmenter; closed at the end."""
    clients: list[TestClient] = []

    def make(model: Any, limits: Limits | None = None, workers: int = 1) -> TestClient:
        segmenter = Segmenter(model, device="cpu") if isinstance(model, (str, Path)) else model
        clients.append(TestClient(make_app(segmenter, "tiny", limits, workers)))
        return clients[-1].__enter__()

    yield make
    for one in clients:
        one.__exit__(None, None, None)


Client = Callable[..., TestClient]

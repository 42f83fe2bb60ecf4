"""The command as a process of its own: many requests at once, and an end in order."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx2
import numpy as np
import pytest
from PIL import Image

from benchmarks.serve_load import main as measure_load
from condseg_monai import Segmenter
from tests.serve.conftest import png

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 255, (48 + i, 64, 3), dtype=np.uint8) for i in range(8)]
CONTENTS = [png(array) for array in IMAGES]


@contextmanager
def served(model, *options):
    """Address and process of the command; it is ended if it has not ended."""
    words = [sys.executable, "-m", "condseg_monai", "serve", str(model), "--port", "0", "--device", "cpu", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        address = re.match(r"http://[\d.]+:\d+", process.stdout.readline())
        assert address is not None, process.stderr.read()
        yield address[0], process
    finally:
        process.kill()
        process.wait()


def post(address, content, **options):
    # Without verify=False each call reads all certificates of the machine, which takes longer than its answer.
    files = {"file": ("frame.png", content)}
    return httpx2.post(f"{address}/predict", files=files, timeout=200, verify=False, **options)


def test_two_hundred_requests_at_once_are_answered_or_sent_away_and_ctrl_c_ends_the_service(
    image_model, tmp_path, capsys
):
    masks = [Segmenter(image_model, device="cpu").predict(image).mask * 255 for image in IMAGES]
    with (
        served(image_model, "--max_requests", "100", "--workers", "2") as (address, process),
        ThreadPoolExecutor(200) as pool,
    ):
        contents = [b"no image" if i % 50 == 7 else CONTENTS[i % 8] for i in range(200)]
        responses = [*pool.map(lambda content: post(address, content, params={"format": "png"}), contents)]
        statuses = Counter(response.status_code for response in responses)
        assert {*statuses} <= {200, 422, 503} and statuses[200] >= 96
        for i, response in enumerate(responses):
            if response.status_code == 200:
                assert np.array_equal(np.asarray(Image.open(io.BytesIO(response.content))), masks[i % 8])
            elif response.status_code == 503:
                assert int(response.headers["Retry-After"]) >= 1
        metrics = httpx2.get(f"{address}/metrics").text
        for status, count in statuses.items():
            assert f'condseg_requests_total{{status="{status}"}} {count}.0' in metrics
        assert "condseg_requests_in_progress 0.0" in metrics

        assert httpx2.get(f"{address}/health").json()["model"] == image_model.name  # and not where it is
        (tmp_path / "frame.png").write_bytes(CONTENTS[0])
        measure_load([address, str(tmp_path / "frame.png"), "--requests", "5", "--at_once", "2"])
        assert re.match(r"5 times 200\n[\d.]+ s, [\d.]+ masks a second; latency ", capsys.readouterr().out)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_sigterm_ends_the_service_when_accepted_requests_are_answered(image_model):
    large = png(RNG.integers(0, 255, (900, 1200, 3), dtype=np.uint8))  # so that most wait while one is segmented
    with served(image_model) as (address, process), ThreadPoolExecutor(40) as pool:
        futures = [pool.submit(post, address, large) for _ in range(40)]
        waiting = accepted = 0
        while accepted < 40 and not (accepted and all(future.done() for future in futures)):
            text = httpx2.get(f"{address}/metrics", verify=False).text
            waiting = int(float(re.search(r"^condseg_requests_in_progress (\S+)", text, flags=re.M)[1]))
            accepted = waiting + sum(future.done() for future in futures)
        process.send_signal(signal.SIGTERM)
        assert waiting > 1
        assert [future.result(60).status_code for future in futures] == [200] * 40
        assert process.wait(30) == 143
        assert process.stderr.read().splitlines()[-1] == "stopped by SIGTERM: the accepted requests were answered"

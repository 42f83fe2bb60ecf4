import threading

import numpy as np
import pytest
from PIL import Image

from condseg_monai import PredictionWriter, WriteQueue


def test_files_are_written_by_another_thread_and_are_there_after_finish(tmp_path):
    writes, threads = WriteQueue(), []

    def write(path):
        threads.append(threading.current_thread())
        path.write_text("done")

    for name in "abc":
        writes.put(tmp_path / name, lambda path=tmp_path / name: write(path))
    assert writes.finish() == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]
    assert threading.main_thread() not in threads


def test_what_fails_is_named_and_does_not_cost_the_others(tmp_path):
    writes = WriteQueue()

    def disk_full():
        raise OSError("no space left on device")

    writes.put(tmp_path / "a.png", disk_full)
    writes.put(tmp_path / "b.png", (tmp_path / "b.png").touch)
    assert writes.finish() == {str(tmp_path / "a.png"): "OSError: no space left on device"}
    assert (tmp_path / "b.png").exists()
    assert writes.finish() == {}  # each only once


def test_no_more_than_asked_for_wait():
    writes, go, started = WriteQueue(pending=2), threading.Event(), []
    for _ in range(2):
        writes.put("x", lambda: go.wait(10))
    third = threading.Thread(target=lambda: (writes.put("y", lambda: None), started.append(True)))
    third.start()
    third.join(0.2)
    assert started == []
    go.set()
    third.join(10)
    assert started == [True]
    assert writes.finish() == {}


def test_prediction_writer_hands_its_file_over(tmp_path):
    writes = WriteQueue()
    writer = PredictionWriter(queue=writes)
    writer.set_data_array(np.ones((1, 3, 2), dtype=np.float32))
    writer.write(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"as \.png or \.npy, not as b\.jpg"):
        writer.write(tmp_path / "b.jpg")
    assert writes.finish() == {}
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), np.full((3, 2), 255))


def test_no_room_raises():
    with pytest.raises(ValueError, match="pending must be positive, got 0"):
        WriteQueue(pending=0)

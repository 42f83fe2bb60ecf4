import multiprocessing
import os
import signal
from types import SimpleNamespace

import pytest
from monai.data import Dataset

from condseg_monai.inference.case_loader import CaseLoader
from condseg_monai.utils.interruption import leave_signals_to_parent


def wait_for_signals(ready):
    leave_signals_to_parent(0)
    ready.set()
    while True:
        signal.pause()


@pytest.mark.skipif(not hasattr(signal, "pause"), reason="signals of POSIX")
def test_worker_ends_on_sigterm_as_if_it_were_done_and_not_on_ctrl_c():
    ready = multiprocessing.Event()
    worker = multiprocessing.Process(target=wait_for_signals, args=(ready,))
    worker.start()
    assert ready.wait(60)
    os.kill(worker.pid, signal.SIGINT)
    worker.join(0.2)
    assert worker.is_alive()
    worker.terminate()
    worker.join(60)
    assert worker.exitcode == 0


def test_workers_of_inference_leave_signals_to_the_parent():
    def handlers(case):
        return {**case, "ignored": signal.getsignal(signal.SIGINT) == signal.SIG_IGN}

    (batch,) = CaseLoader(
        Dataset([{"image": "a"}], handlers), SimpleNamespace(result="mask"), num_workers=1, progress=False
    )
    assert batch == [{"image": "a", "ignored": True}]

import threading

import pytest

from condseg_monai.serve.batch_workers import BatchWorkers


class Work:
    """Returns jobs as they are, in batches that it notes; the first waits until it may go on."""

    def __init__(self):
        self.batches, self.started, self.go_on = [], threading.Event(), threading.Event()

    def __call__(self, jobs):
        self.batches.append(list(jobs))
        self.started.set()
        assert self.go_on.wait(10)
        if "all" in jobs:
            raise MemoryError("too large")
        return [ValueError(job) if job == "bad" else job for job in jobs]


@pytest.fixture
def work():
    return Work()


def first_of(workers, work):
    """Submit a job that is being worked on when this returns."""
    future = workers.submit("first")
    assert work.started.wait(10)
    return future


def test_what_waits_together_is_a_batch(work):
    workers = BatchWorkers(work, batch_size=3)
    futures = [first_of(workers, work), *(workers.submit(i) for i in range(4))]
    work.go_on.set()
    assert [future.result(10) for future in futures] == ["first", 0, 1, 2, 3]
    workers.close()
    assert work.batches == [["first"], [0, 1, 2], [3]]


def test_error_of_a_job_is_its_own_and_of_a_batch_everyones_and_the_thread_lives_on(work):
    workers = BatchWorkers(work, batch_size=2)
    first, bad, good, everyones, other = first_of(workers, work), *map(workers.submit, ("bad", "good", "all", "other"))
    work.go_on.set()
    assert first.result(10) == "first" and good.result(10) == "good"
    with pytest.raises(ValueError, match="bad"):
        bad.result(10)
    for future in (everyones, other):
        with pytest.raises(MemoryError):
            future.result(10)
    assert workers.submit("later").result(10) == "later"
    workers.close()


def test_cancelled_jobs_are_left_out(work):
    workers = BatchWorkers(work)
    first_of(workers, work)
    assert workers.submit("cancelled").cancel()
    last = workers.submit("last")
    work.go_on.set()
    assert last.result(10) == "last"
    workers.close()
    assert work.batches == [["first"], ["last"]]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_close_does_all_that_was_submitted(work, batch_size):
    workers = BatchWorkers(work, workers=2, batch_size=batch_size)
    futures = [first_of(workers, work), *(workers.submit(i) for i in range(20))]
    threading.Timer(0.1, work.go_on.set).start()
    workers.close()
    assert [future.result(0) for future in futures] == ["first", *range(20)]

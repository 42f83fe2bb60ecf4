from monai.handlers import LrScheduleHandler, StatsHandler, ValidationHandler

from condseg_monai import EpochSeed, handlers_of_rank

NEEDED = [ValidationHandler(1), EpochSeed(0), LrScheduleHandler(None)]


def test_first_process_has_all_handlers_and_others_what_steers_the_run(monkeypatch):
    handlers = [StatsHandler(), *NEEDED]
    assert handlers_of_rank(handlers) == handlers
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    assert handlers_of_rank(handlers) == NEEDED

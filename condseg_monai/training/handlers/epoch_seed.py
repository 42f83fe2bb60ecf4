"""Seed every epoch from (seed, epoch, rank)."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from monai.utils import set_determinism

__all__ = ["EpochSeed"]


class EpochSeed:
    """Seed every epoch from (seed, epoch, rank), so that a resumed run has no random state to restore.

    Python, NumPy, torch and the random transforms of the trainer's data set are seeded before the epoch's first batch
    is drawn; the order of the cases and the seeds of DataLoader workers come from torch's generator. Handlers of
    ``Events.EPOCH_STARTED`` run before ignite makes the epoch's iterator.

    Args:
        seed: of the run, >= 0; None seeds nothing.

    Raises:
        ValueError: if ``seed`` is negative.
    """

    def __init__(self, seed: int | None) -> None:
        if seed is not None and seed < 0:
            raise ValueError(f"seed must be >= 0, got {seed}")
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Seed each epoch of ``engine``, a trainer."""
        if self.seed is not None:
            engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Seed the epoch that begins."""
        assert self.seed is not None
        sequence = np.random.SeedSequence([self.seed, engine.state.epoch, idist.get_rank()])
        seed = int(sequence.generate_state(1)[0])
        set_determinism(seed)
        set_rnd(getattr(engine.data_loader, "dataset", None), seed)  # without workers; MONAI seeds those of a worker

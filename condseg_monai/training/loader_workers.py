"""Worker processes of a training's data loaders: seeded as MONAI does, and silent when the run is stopped."""

from __future__ import annotations

from monai.data.utils import worker_init_fn

from condseg_monai.utils.interruption import leave_signals_to_parent

__all__ = ["start_worker"]


def start_worker(worker_id: int) -> None:
    """Seed the random transforms of a worker, and leave Ctrl-C and SIGTERM to the parent.

    The ``worker_init_fn`` of a loader; MONAI's own does the first.
    """
    worker_init_fn(worker_id)
    leave_signals_to_parent(worker_id)

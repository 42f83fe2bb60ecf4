"""Trackers of a training: TensorBoard's event files, a folder for each run, and MLflow."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from monai.handlers import MLFlowHandler

__all__ = ["EventWriter", "mlflow_handler"]


class EventWriter:
    """TensorBoard's writer of one run, which makes its file at the first event.

    Each run has a folder to itself in ``log_dir``, ``run_1``, ``run_2`` and so on, which
    :class:`~condseg_monai.SaveAndResume` chooses when training starts. A run that fails before its first
    step leaves no file.

    Args:
        log_dir: the folder of all runs.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        self.log_dir = Path(log_dir)
        self.run_dir: Path | None = None
        self._purge_step: int | None = None
        self._writer: Any = None

    def begin(self) -> str:
        """Choose a folder for a new run, and return its name."""
        numbers = [int(path.name[4:]) for path in self.log_dir.glob("run_*") if path.name[4:].isdecimal()]
        self.close()
        self.run_dir, self._purge_step = self.log_dir / f"run_{max(numbers, default=0) + 1}", None
        return self.run_dir.name

    def resume(self, name: str, step: int) -> None:
        """Continue the run ``name``; TensorBoard forgets what it has of steps after ``step``."""
        self.close()
        self.run_dir, self._purge_step = self.log_dir / name, step + 1

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int | None = None, **kwargs: Any) -> None:
        """As TensorBoard's writer."""
        self._open().add_scalar(tag, scalar_value, global_step, **kwargs)

    def add_image(self, tag: str, img_tensor: Any, global_step: int | None = None, **kwargs: Any) -> None:
        """As TensorBoard's writer."""
        self._open().add_image(tag, img_tensor, global_step, **kwargs)

    def flush(self) -> None:
        """Write what is buffered."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second

            if self.run_dir is None:
                self.begin()
            self._writer = SummaryWriter(str(self.run_dir), purge_step=self._purge_step)
            self._purge_step = None
        return self._writer


def mlflow_handler(
    output_dir: str | os.PathLike[str], run_name: str, scalars: Callable[[Any], Any] | None = None
) -> MLFlowHandler:
    """MONAI's MLflow handler of a trainer or of its evaluator; both write into one run of the name ``run_name``.

    Runs go to the server or database that the environment variable ``MLFLOW_TRACKING_URI`` names, else to
    ``mlruns.db`` in ``output_dir``, in the experiment ``condseg_monai``.

    Args:
        output_dir: see above.
        run_name: of this run alone.
        scalars: gives a step's scalars of the trainer's output; None for an evaluator, whose metrics are written.

    Raises:
        ModuleNotFoundError: if MLflow is not installed.
    """
    if find_spec("mlflow") is None:
        raise ModuleNotFoundError(
            'tracker mlflow needs MLflow, which is not installed: pip install "condseg_monai[mlflow]"'
        )
    folder = Path(output_dir).absolute()
    if "MLFLOW_TRACKING_URI" not in os.environ:
        folder.mkdir(parents=True, exist_ok=True)
    return MLFlowHandler(
        tracking_uri=f"sqlite:///{folder / 'mlruns.db'}",
        iteration_log=scalars is not None,
        output_transform=scalars or dict,
        experiment_name="condseg_monai",
        run_name=run_name,
        close_on_complete=scalars is not None,
    )

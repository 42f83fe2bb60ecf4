"""Progress of a training: a bar on a terminal, and a log line for each epoch."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO

from ignite.engine import Engine, Events
from tqdm import tqdm

from condseg_monai.training.trainer import RunEvents

__all__ = ["TrainingProgress"]

_SILENCE = 30.0  # seconds


class TrainingProgress:
    """Log a line after each epoch, and show a bar over the whole run if the standard error is a terminal.

    A line has the mean loss of the epoch's steps, ``val_loss`` and key metric of its validation, the best so far, the
    epoch's seconds, and the time left until the last of all epochs. Lines that are logged appear above the bar. Where
    there is no bar, a line every half minute says how far a long epoch is.

    Args:
        evaluator: the engine that validates.
        title: in front of all.
        bar: whether to show the bar.
    """

    def __init__(self, evaluator: Engine, title: str = "training", bar: bool = True) -> None:
        self.evaluator = evaluator
        self.title = title
        self.bar = bar
        self._losses: list[float] = []
        self._first = 0  # iterations before this start
        self._start = self._epoch_start = self._said = 0.0
        self._tqdm: tqdm | None = None
        self._open = ExitStack()

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a :class:`~condseg_monai.GuardedTrainer`."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
        engine.add_event_handler(RunEvents.ENDED, self.ended)
        self.evaluator.add_event_handler(Events.STARTED, self.validates)

    def started(self, engine: Any) -> None:
        """Say how long the run is, after other handlers have resumed it, and show the bar."""
        # now, so that it comes after validation and resuming wherever the handlers stand
        if not engine.has_event_handler(self.epoch_completed):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        self._tqdm = None
        logging.getLogger(__name__).info(
            f"{self.title}: {engine.state.max_epochs} epochs of {engine.state.epoch_length} steps"
        )

    def epoch_started(self, engine: Any) -> None:
        """Begin an epoch; with the first one, the clock and the bar."""
        state = engine.state
        self._losses, self._epoch_start = [], time.monotonic()
        self._said = self._epoch_start
        if self._tqdm is None:
            self._start, self._first = self._epoch_start, state.iteration
            self._tqdm = self._open.enter_context(
                tqdm(
                    total=state.max_epochs * state.epoch_length,
                    initial=state.iteration,
                    unit="step",
                    smoothing=0,  # the mean of the whole run, validations included
                    dynamic_ncols=True,
                    leave=False,
                    disable=None if self.bar else True,  # None: unless it is a terminal
                )
            )
            if not self._tqdm.disable:
                self._open.enter_context(_log_above_bars())
        self._tqdm.set_description(f"{self.title}, epoch {state.epoch}/{state.max_epochs}", refresh=False)

    def step(self, engine: Any) -> None:
        """Show a step."""
        self._losses.append(float(engine.state.output["loss"].detach()))
        if self._tqdm is not None:
            self._tqdm.set_postfix_str(f"loss {self._losses[-1]:.4f}", refresh=False)
            self._tqdm.update()
            if self._tqdm.disable and time.monotonic() > self._said + _SILENCE:
                self._said, state = time.monotonic(), engine.state
                step = f"step {len(self._losses)} of {state.epoch_length}"
                logging.getLogger(__name__).info(f"epoch {state.epoch}/{state.max_epochs}: {step}")

    def validates(self, evaluator: Engine) -> None:
        """Show that a validation runs."""
        if self._tqdm is not None:
            self._tqdm.set_postfix_str("validating")

    def epoch_completed(self, engine: Any) -> None:
        """Log the epoch's line."""
        state, now = engine.state, time.monotonic()
        loss = sum(self._losses) / max(1, len(self._losses))
        left = (state.max_epochs * state.epoch_length - state.iteration) / (state.iteration - self._first)
        validated: Any = self.evaluator.state
        scores = [f"val_loss {validated.metrics['val_loss']:.4f}"] if "val_loss" in validated.metrics else []
        words = [
            f"loss {loss:.4f}",
            *(scores + self._score() if validated.epoch == state.epoch else []),
            f"{now - self._epoch_start:.0f} s",
            f"{tqdm.format_interval((now - self._start) * left)} left",
        ]
        logging.getLogger(__name__).info(f"epoch {state.epoch}/{state.max_epochs}: {', '.join(words)}")

    def ended(self, engine: Engine) -> None:
        """Take the bar away."""
        self._open.close()
        self._tqdm = None

    def _score(self) -> list[str]:
        state: Any = self.evaluator.state
        name = getattr(state, "key_metric_name", None)
        if name not in state.metrics:
            return []
        best = f"best {state.best_metric:.4f} in epoch {state.best_metric_epoch}"
        return [f"{name} {state.metrics[name]:.4f} ({best})"]


@contextmanager
def _log_above_bars() -> Iterator[None]:
    """Have what is logged to the screen written above the bars.

    The handlers stay, with filters and formats, which ``logging_redirect_tqdm`` would replace.
    """
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.StreamHandler)]
    before = {handler: handler.stream for handler in handlers if handler.stream in (sys.stderr, sys.stdout)}
    for handler, stream in before.items():
        handler.setStream(_AboveBars(stream))
    try:
        yield
    finally:
        for handler, stream in before.items():
            handler.setStream(stream)


class _AboveBars:
    """Stream whose lines are written above the bars."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        """Take the bars away, write, and draw them again."""
        with tqdm.external_write_mode(file=self.stream):
            self.stream.write(text)

    def flush(self) -> None:
        """As the stream's."""
        self.stream.flush()

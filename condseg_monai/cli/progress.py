"""Progress of a training: a line for each epoch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ignite.engine import Engine
    from monai.bundle import ConfigWorkflow

__all__ = ["EpochLines"]


class EpochLines:
    """Prints a line when training begins and after each epoch of a training workflow, with scores if it validated.

    Args:
        workflow: initialised, not yet run.
    """

    def __init__(self, workflow: ConfigWorkflow) -> None:
        from ignite.engine import Events

        trainer: Engine = workflow.parser.get_parsed_content("train#trainer")
        evaluator: Engine = workflow.parser.get_parsed_content("validate#evaluator")
        self.losses: list[float] = []
        self.scores = ""
        self.start = time.perf_counter()
        trainer.add_event_handler(Events.STARTED, self.print_begin)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self.keep_loss)
        evaluator.add_event_handler(Events.COMPLETED, self.keep_scores)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.print_line)  # after the config's handlers

    def print_begin(self, trainer: Engine) -> None:
        """Print how long training will be."""
        self.start = time.perf_counter()
        click.echo(f"  training: {trainer.state.max_epochs} epochs of {trainer.state.epoch_length} steps")

    def keep_loss(self, trainer: Engine) -> None:
        """Keep the loss of one iteration."""
        output: Any = trainer.state.output
        self.losses.append(output["loss"].item())

    def keep_scores(self, evaluator: Engine) -> None:
        """Keep the scores of one validation."""
        metrics = evaluator.state.metrics
        self.scores = f"   val mIoU {metrics['val_mean_iou']:.3f}   mDSC {metrics['val_mean_dice']:.3f}"

    def print_line(self, trainer: Engine) -> None:
        """Print epoch, its mean loss, seconds, and scores if there was a validation."""
        state, now = trainer.state, time.perf_counter()
        epoch = f"{state.epoch:3d}/{state.max_epochs}"
        loss = sum(self.losses) / len(self.losses) if self.losses else float("nan")
        click.echo(f"  epoch {epoch}   loss {loss:7.4f}   {now - self.start:4.0f} s{self.scores}")
        self.losses, self.scores, self.start = [], "", now

"""Command ``evaluate``: scores of a model on the images of a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from condseg_monai.cli.config_options import ConfigCommand, given_options, with_config_options
from condseg_monai.cli.console import aside, heading, say
from condseg_monai.cli.logs import send_to_log
from condseg_monai.cli.program import LEARN_MORE, PathValue, print_use, read_model, start_work, warn_if_trivial
from condseg_monai.cli.workflows import command_of_model, open_run, option_names
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.utils.errors import root_cause
from condseg_monai.utils.text_tables import text_table

__all__ = ["command"]

_FILES = ("train_stage2", "evaluate")
_OWN = {"bundle_root", "stage", "dataset_dir", "output_dir", "ckpt_dir", "checkpoint", "split"}
_AT_OWN_SIZE = "_original"
_NAMES = (
    option_names(("inference",)) & option_names(_FILES)
    | option_names(("evaluate",))
    | {"mask_threshold", "mask_suffix"}
) - _OWN


@click.command("evaluate", cls=ConfigCommand, short_help="Score a model on a data set.")
@click.argument("model")
@click.argument("dataset_dir", metavar="DIR", type=PathValue(exists=True, file_okay=False))
@click.option("--split", default="test", show_default=True, help="the list of DIR to score")
@click.option("--folds", is_flag=True, help="score every fold of a run on its own val list, and pool the scores")
@click.option(
    "--output_dir",
    metavar="OUT",
    type=PathValue(),
    help="[scores in the model's run folder; of a zip or a shipped model, scores/NAME]",
)
@with_config_options(_NAMES)
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    dataset_dir: Path,
    split: str,
    folds: bool,
    output_dir: Path | None,
    **options: Any,
) -> int:
    """Score MODEL on a list of the data set DIR, and write a table, a summary and a report.

    MODEL is a checkpoint, the folder of a run or a bundle, a zip of one, or the name of a shipped model.
    Every image is scored at the network's size and at its own; the table printed is of the latter. The exit code is 1
    if some images failed. With --folds, MODEL is the folder of runs that train --fold made: every image is scored by
    the model that was trained without it.
    """
    given = given_options(ctx, options)
    if folds:
        start_work(ctx, "start again with --overwrite")
        return _evaluate_folds(Path(model), dataset_dir, output_dir, given)
    checkpoint = _model_of_images(model, dataset_dir)
    if given.get("fold") is None and not (dataset_dir / f"{split}.txt").is_file():
        lists = ", ".join(sorted(path.stem for path in dataset_dir.glob("*.txt"))) or "none: condseg split makes some"
        raise ValueError(f"--split {split}: {dataset_dir} has no {split}.txt; the lists in it are {lists}")
    scores = (output_dir or _scores_folder(model, checkpoint)).absolute()
    _refuse_earlier(scores, split, given)
    start_work(ctx, "nothing was written; start again")
    summary, failure = _evaluate(model, checkpoint, dataset_dir, split, scores, given)
    title = f"{split}: {summary['images']} images, scored at their own size"
    click.echo(f"\n{title}\n\n{_table(summary)}\n\nreport  {scores / f'report_{split}.html'}")
    if summary.get("missed_images_original") == summary["images"]:
        say(f"warning: no lesion was found in any image; {LEARN_MORE}", err=True)
    else:
        dice = summary["scores"].get("mean_dice_original", {}).get("mean")
        warn_if_trivial(dice, summary.get("all_foreground_dice"))
    if failure:
        raise failure
    return 0


def _evaluate_folds(run_dir: Path, dataset_dir: Path, output_dir: Path | None, given: Mapping[str, Any]) -> int:
    from condseg_monai.reports.folds import check_folds, pool_folds

    numbers = check_folds(run_dir, dataset_dir, given.get("mask_suffix", ""))
    failures, scores = [], (output_dir or run_dir / "scores").absolute()
    for fold in numbers:  # before the first is scored
        _refuse_earlier(scores / f"fold_{fold}", "val", given)
    _refuse_earlier(scores, "out_of_fold", given)
    for fold in numbers:
        say(heading(f"fold {fold}"))
        folder = scores / f"fold_{fold}"
        model = str(run_dir / f"fold_{fold}")
        _, failure = _evaluate(model, _model_of_images(model), dataset_dir, "val", folder, {**given, "fold": fold})
        failures += [failure] if failure else []
    tables = [scores / f"fold_{fold}" / "scores_val.csv" for fold in numbers]
    summary = pool_folds(tables, scores, overwrite=bool(given.get("overwrite")))
    click.echo(f"\nout of fold: {summary['images']} images in {len(numbers)} folds\n\n{_table(summary)}")
    click.echo(f"\nreport  {scores / 'report_out_of_fold.html'}")
    if failures:
        raise RuntimeError("\n".join(map(str, failures)))
    return 0


def _model_of_images(model: str, dataset_dir: Path | None = None) -> Path:
    checkpoint, card = read_model(model, dataset_dir)
    if card is not None and card.kind == "ct":
        raise ValueError(f"{checkpoint} segments CT volumes: use condseg predict, then condseg score-volumes")
    return checkpoint


def _scores_folder(model: str, checkpoint: Path) -> Path:
    if not Path(model).exists() or Path(model).suffix == ".zip":  # the bundle's, or unpacked for this run
        return Path("scores") / Path(model).stem
    run_dir = checkpoint.parent.parent if checkpoint.parent.name == "models" else checkpoint.parent
    return run_dir / "scores"


def _evaluate(
    model: str, checkpoint: Path, dataset_dir: Path, split: str, scores: Path, given: Mapping[str, Any]
) -> tuple[dict[str, Any], BaseException | None]:
    """Score one model; returns the summary, and an error if images could not be scored."""
    from condseg_monai.inference.cases import RunError

    places = {"dataset_dir": str(dataset_dir.absolute()), "output_dir": str(scores), "checkpoint": str(checkpoint)}
    settings = {**places, "split": split, **given}
    say(aside(command_of_model(model, _FILES, settings)))
    print_use(ModelCard.of(checkpoint))
    workflow = open_run(_FILES, settings)
    workflow.parser.get_parsed_content("validate#evaluator")  # makes loggers
    send_to_log()
    failure = None
    try:
        workflow.run()
    except RuntimeError as error:
        failure = root_cause(error)
        if not isinstance(failure, RunError) or failure.done == 0:
            raise
    workflow.finalize()
    summary = json.loads((scores / f"summary_{split}.json").read_text(encoding="utf-8"))
    return summary, failure


def _refuse_earlier(folder: Path, name: str, given: Mapping[str, Any]) -> None:
    from condseg_monai.reports.report_files import ReportFiles

    ReportFiles(folder, name, bool(given.get("overwrite"))).refuse_earlier()


def _table(summary: Mapping[str, Any]) -> str:
    rows = [["score", "mean", "95 % interval", "median"]]
    for name, score in summary["scores"].items():
        if name.endswith(_AT_OWN_SIZE):
            interval = score["interval_95"]
            words = "-" if interval is None else f"{_number(interval[0])} to {_number(interval[1])}"
            title = name.removeprefix("val_").removesuffix(_AT_OWN_SIZE)
            rows.append([title, _number(score["mean"]), words, _number(score["median"])])
    return text_table(rows)


def _number(value: float | None) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)

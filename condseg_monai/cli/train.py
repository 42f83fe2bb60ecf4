"""Command ``train``: a data set becomes a model, in one or two stages."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from condseg_monai.cli.config_options import ConfigCommand, given_options, mask_words, option_words, with_config_options
from condseg_monai.cli.console import aside, heading, say
from condseg_monai.cli.logs import log_to, send_to_log
from condseg_monai.cli.program import LEARN_MORE, PathValue, start_work, warn_if_trivial, wrong_option
from condseg_monai.cli.workflows import command_of, open_run, option_names, options_for
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.utils.bundle_path import bundle_dir
from condseg_monai.utils.files import read_json_object
from condseg_monai.utils.method_files import CT, METHODS, Files
from condseg_monai.utils.options import MAY_CHANGE

if TYPE_CHECKING:
    from monai.bundle import ConfigWorkflow

__all__ = ["command"]

_CONDSEG, _PAPER, _RELEASED = "condseg", "paper", "released"
_PRESET_METHODS = {_RELEASED: ("condseg", "med_disseg")}  # whose losses it has
_PRESET = "preset_"
_OWN = {"bundle_root", "stage", "dataset_dir", "output_dir"}
_FILES = (*METHODS.values(), CT)
_STAGE1 = set().union(*(option_names(files.stage1) for files in _FILES)) - _OWN
_NAMES = set().union(*(option_names(files.train) for files in _FILES)) - _OWN | _STAGE1
_NOT_CONTINUED = {"resume", "overwrite", "ckpt_dir"}
_CONTINUED_WITH_OTHERS = {*MAY_CHANGE, "epochs"}  # of epochs, a schedule that depends on them says no
_WITHOUT_RECORD = "move the file away, and give --resume with the options of the run"
_PRESETS = sorted(file.stem.removeprefix(_PRESET) for file in (bundle_dir() / "configs").glob(f"{_PRESET}*.json"))


@click.command("train", cls=ConfigCommand, short_help="Train a model, in both stages.")
@click.argument("dataset_dir", metavar="DIR", type=PathValue(exists=True, file_okay=False))
@click.option(
    "--method",
    type=click.Choice([*METHODS]),
    default=_CONDSEG,
    show_default=True,
    help="which network and training",
)
@click.option(
    "--preset",
    type=click.Choice([_PAPER, *_PRESETS]),
    default=_PAPER,
    show_default=True,
    help="a set of options; those given here come on top",
)
@click.option("--task", type=click.Choice(["images", "ct"]), help="what DIR holds [seen from its folders]")
@click.option("--output_dir", metavar="RUN", type=PathValue(), help="the run's folder [runs/NAME OF DIR]")
@with_config_options(_NAMES, _STAGE1)
@click.pass_context
def command(ctx: click.Context, dataset_dir: Path, output_dir: Path | None, **options: Any) -> None:
    """Train on the data set DIR and write the model, its records and its curves into the folder RUN.

    DIR has images/, masks/, train.txt and val.txt; for CT, what prepare synapse makes. Methods of two stages train
    both, one after the other: --stage1_checkpoint FILE takes stage 1 from there, --stage1_checkpoint null leaves it
    out, as does --init_from FILE, which fine-tunes a whole model. An option with stage1_ in front, such as
    --stage1_epochs, is for stage 1 alone. --resume continues a run that was cut short, with its options, which need not
    be given again. condseg options says what each option is if it is not given.
    """
    given = given_options(ctx, options)
    run_dir = (output_dir or Path("runs") / dataset_dir.resolve().name).absolute()
    if given.get("fold") is not None:
        run_dir /= f"fold_{given['fold']}"
    ckpt_dir = given.get("ckpt_dir", str(run_dir / "models"))
    if given.get("resume") and given.get("overwrite"):
        raise wrong_option("overwrite", "--resume continues the run that --overwrite replaces: leave one of them out")
    records = _records(Path(ckpt_dir)) if given.get("resume") else {}
    if given.get("resume") and not records and not given.keys() - {"resume", "ckpt_dir", "fold"}:
        raise wrong_option("resume", f"{ckpt_dir} has no run to continue: give its --output_dir, --fold or --ckpt_dir")
    given = _options_of_run(ctx, dataset_dir, records, given)
    method, preset, task = given.pop("method", _CONDSEG), given.pop("preset", _PAPER), given.pop("task", None)
    is_ct = task == "ct" if task else (dataset_dir / "train_npz").is_dir()
    chosen = {"method": method, "preset": preset, "task": "ct" if is_ct else "images", **given}
    arguments = option_words({name: value for name, value in chosen.items() if name not in _NOT_CONTINUED})
    if is_ct and method != _CONDSEG:
        raise click.UsageError(f"{dataset_dir} holds CT slices, which --method condseg alone trains on, not {method}")
    files = CT if is_ct else METHODS[method]
    if (is_ct and preset == _RELEASED) or method not in _PRESET_METHODS.get(preset, METHODS):
        raise wrong_option(
            "preset", f"{preset} is of binary masks and --method {' and '.join(_PRESET_METHODS[preset])}"
        )
    what = "a training on CT" if is_ct else f"--method {method}"
    if preset != _PAPER:
        files = files.with_overlay(_PRESET + preset)
        what += f" by --preset {preset}"
    _refuse_others(given, files, what)
    places = {"dataset_dir": str(dataset_dir.absolute()), "output_dir": str(run_dir)}
    settings = {**places, "ckpt_dir": ckpt_dir, **given}
    starts_elsewhere = "stage1_checkpoint" in given or given.get("init_from") is not None
    stages = [("Stage 1", files.stage1)] if files.stage1 and not starts_elsewhere else []
    stages.append(("Stage 2" if stages else "Training", files.train))
    anew: dict[str, Any] = {}
    if len(stages) > 1 and {"stage1", "stage2"} <= records.keys():
        if _began_from(records["stage2"], records["stage1"]):
            click.echo("Stage 1 is done, and stage 2 began from it")
            del stages[0]
        elif [*records][-1] == "stage1":  # --overwrite was stopped before it replaced stage 2
            click.echo("Stage 2 starts from the beginning: the one that is there is of the run that was replaced")
            anew = {"resume": False, "overwrite": True}
    if given.get("fold") is not None and given.get("init_from"):
        say("warning: out of fold, scores hold only if --init_from never saw the images of this fold", err=True)
    start_work(ctx, "the same command with --resume continues from the last saved state")
    runs = [
        (title, stage, options_for(stage, settings | (anew if number else {})))
        for number, (title, stage) in enumerate(stages)
    ]
    for _, stage, run_options in runs:
        _check_options(stage, run_options)
    log_to(run_dir / "log.txt")
    for number, (title, stage, run_options) in enumerate(runs):
        say(f"{chr(10) * bool(number)}{heading(title)}\n  {aside(command_of(stage, run_options))}")
        workflow = _train(stage, {**run_options, "arguments": arguments})
    model = Path(settings["ckpt_dir"]) / "model.pt"
    _print_places(run_dir, model)
    _warn_of_score(ModelCard.read(model.with_suffix(".json")), workflow)
    _print_next(dataset_dir, run_dir, model, is_ct, given)


def _records(ckpt_dir: Path) -> dict[str, dict[str, Any]]:
    """The records of a run by stage, the latest one last.

    Raises:
        ValueError: if one is damaged; the message names it.
    """
    records: dict[str, dict[str, Any]] = {}
    for path in sorted(ckpt_dir.glob("run_*.json")):
        record = records[path.stem.removeprefix("run_")] = {"path": path, **read_json_object(path)}
        if not all(isinstance(record.get(name), dict) for name in ("options", "checkpoints")):
            raise ValueError(f"{path} is no record of a training; {_WITHOUT_RECORD}")
    return dict(sorted(records.items(), key=lambda item: (str(item[1].get("started", "")), item[0])))


def _began_from(stage2: Mapping[str, Any], stage1: Mapping[str, Any]) -> bool:
    """Whether stage 2 began from the encoder that stage 1 ended with, by their records."""
    start, end = stage2.get("starts_from"), stage1["checkpoints"].get("stage1.pt")
    return isinstance(start, dict) and end is not None and start.get("sha256") == end


def _options_of_run(
    ctx: click.Context, dataset_dir: Path, records: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Options of the run that is continued, by its latest record, and those that are given now.

    Raises:
        ValueError: if the record is damaged, or a given option contradicts it.
    """
    stage, record = [("", {}), *records.items()][-1]
    words = record.get("arguments")
    if not words:  # python -m monai.bundle and earlier versions do not record them
        return dict(given)
    path = record["path"]
    try:
        if not isinstance(words, list) or not all(str(word).startswith("--") and "=" in str(word) for word in words):
            raise click.UsageError("the arguments are no list of --NAME=VALUE")
        first = ctx.command.make_context("train", [*map(str, words), "--", str(dataset_dir)], parent=ctx.parent)
        earlier = {name: value for name, value in given_options(first, first.params).items() if name != "dataset_dir"}
        if places := earlier.keys() & {*_NOT_CONTINUED, "output_dir"}:
            raise click.UsageError(f"the arguments of a run have no --{min(places)}")
    except click.ClickException as error:
        raise ValueError(f"{path}: {error.format_message()}; {_WITHOUT_RECORD}") from error
    defaults = {name: value for name, value in record["options"].items() if f"stage1_{name}" not in earlier}
    before = {**defaults, **earlier}
    changed = [
        f"--{name} was {before.get(name, 'not given')}, now is {value}"
        for name, value in given.items()
        if value != before.get(name, "not given")
        and not {name, name if stage == "stage2" else name.removeprefix("stage1_")} & _CONTINUED_WITH_OTHERS
    ]
    if changed:
        raise ValueError(
            f"--resume: the run of {path} had other options: {'; '.join(changed)}. Leave them out, or start a new run "
            "with another --output_dir"
        )
    click.echo(f"Continues the run of {path.parent}, with {shlex.join(words)}")
    return {**earlier, **given}


def _refuse_others(given: Mapping[str, Any], files: Files, what: str) -> None:
    stage1 = {f"stage1_{name}" for name in option_names(files.stage1)}
    for name in given.keys() - option_names((*files.stage1, *files.train)) - stage1:
        raise wrong_option(name, f"{what} has no such option; condseg options says which configs have it")


def _check_options(files: tuple[str, ...], options: Mapping[str, Any]) -> None:
    """Raise what the data would raise after a download, and the network after the stage before it, hours later."""
    import torch  # takes seconds, and --help should not

    parser = open_run(files, options).parser
    parser.get_parsed_content("datalists")
    parser.get_parsed_content("run_folder").check()
    with torch.device("meta"):  # no memory, no random numbers
        parser.get_parsed_content("network_def")


def _train(files: tuple[str, ...], options: Mapping[str, Any]) -> ConfigWorkflow:
    workflow = open_run(files, options)
    send_to_log()
    workflow.run()
    workflow.finalize()
    return workflow


def _print_places(run_dir: Path, model: Path) -> None:
    places = {
        "weights": model,
        "model card": model.with_suffix(".json"),
        "records of the run": model.parent,
        "curves": run_dir / "curves.png",
        "log": run_dir / "log.txt",
    }
    say(f"\n{heading('Where to look')}")
    for name, place in places.items():
        click.echo(f"  {name:20s}{place}")


def _warn_of_score(card: ModelCard, workflow: ConfigWorkflow) -> None:
    from condseg_monai.reports.summary import all_foreground_dice

    if (card.training.get("best") or {}).get("value") == 0:
        say(f"warning: no lesion was found in any validation image; {LEARN_MORE}", err=True)
    elif card.is_binary:
        labels = (case["label"] for case in workflow.parser.get_parsed_content("validate#dataset"))
        trivial = all_foreground_dice(float(label.mean()) for label in labels)
        warn_if_trivial((card.training.get("last") or {}).get("val_mean_dice"), trivial)


def _print_next(dataset_dir: Path, run_dir: Path, model: Path, is_ct: bool, given: Mapping[str, Any]) -> None:
    masks = mask_words(given.get("mask_threshold"), given.get("mask_suffix"))
    if is_ct:
        say(f"{heading('Next')}\n  condseg predict {shlex.quote(str(model))} SCANS OUT")
        click.echo("  condseg score-volumes OUT LABELS --source_labels NAMES --output_dir SCORES")
    elif given.get("fold") is not None:
        words = ["condseg", "evaluate", str(run_dir.parent), str(dataset_dir), "--folds", *masks]
        say(f"{heading('Next, when all folds are trained')}\n  {shlex.join(words)}")
    else:
        say(f"{heading('Next')}\n  {shlex.join(['condseg', 'evaluate', str(model), str(dataset_dir), *masks])}")
        click.echo(f"  condseg predict {shlex.quote(str(model))} IMAGES OUT")

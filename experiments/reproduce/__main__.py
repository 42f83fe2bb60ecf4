"""A table or figure of the papers: train and score its rows on one data set, and write it with the papers' numbers.

    .venv/bin/python -m experiments.reproduce table7 --dataset_dir DIR --output_dir runs/papers --budget small
    .venv/bin/python -m experiments.reproduce --list

``--budget paper`` trains with the configs' defaults, which are the papers', and what ``trainings`` has for Med-DisSeg
and DEC-Seg; ``small`` and ``tiny`` are the sizes of ``trainings.BUDGETS`` and tell whether it runs and how rows compare
in a short training, no more. What follows ``--`` is passed as options to all trainings that have them; with ``stage1_``
before the name, to the first stages alone; ``--saliency_scores True --stretch True`` and ``--threshold 0.4`` to the
scoring. Give every table the same ``--output_dir``: a training that two of them want, with the same options, is done
once. What is trained and scored is kept, what was cut short continues, and ``TABLE.md``, ``.csv`` and ``.tex`` are
written anew after each row, a figure's ``.png`` at the end; several lists (``--split cvc_300 kvasir``) have a table
each, ``TABLE_cvc_300.md`` and so on. The papers' numbers are there where they are known. A row that fails is named at
the end, and the others go on. Two tables may run at the same time; a training that both want at once fails in the
second one, which is to be called again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from condseg_monai.cli.workflows import option_names
from condseg_monai.metrics.bootstrap import bootstrap_interval
from condseg_monai.utils.errors import error_text
from condseg_monai.utils.files import atomic_write
from condseg_monai.utils.text_tables import csv_table, latex_table, markdown_table
from experiments.given_options import check_options, parse_options
from experiments.reproduce.items import ITEMS, Item
from experiments.reproduce.speed import measure_speed
from experiments.reproduce.synapse import prepare_slices, score_row
from experiments.reproduce.trainings import BUDGETS, FILES, OWN_OPTIONS, SCORING, Plan, Row, write

SCORES = {
    "mean_iou": "mIoU",
    "mean_dice": "mDSC",
    "swept_iou_original": "mIoU over thresholds",
    "swept_dice_original": "mDSC over thresholds",
}


def main() -> int:
    """Run what is missing, and write the table after each row; 1 if a row failed."""
    arguments, plan = parse(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    item = ITEMS[arguments.item]
    rows = {name: item.rows[name] for name in arguments.rows or item.rows}
    plans = {plan.output_dir / arguments.item: plan}
    if len(arguments.split) > 1:
        plans = {plan.output_dir / f"{arguments.item}_{split}": plan._replace(split=split) for split in arguments.split}
    stem = next(iter(plans))
    failed: list[str] = []
    if item.kind == "speed":
        with _noted("speed", failed):
            table, how = measure_speed(rows, plan)
            write_table(stem, table, f"{item.title}. {how}")
    elif item.kind == "volumes":
        plan = plan._replace(dataset_dir=plan.output_dir / "synapse")
        (row,), (seed,) = rows.values(), arguments.seeds
        with _noted(row.title, failed):
            prepare_slices(arguments.dataset_dir.resolve(), plan.dataset_dir, arguments.source_labels, arguments.counts)
            write_table(stem, score_row(row, plan, seed), about(item, rows, plan, arguments.seeds))
    else:
        done: dict[str, Row] = {}
        for seed, (name, row) in product(arguments.seeds, rows.items()):
            with _noted(f"{row.title}, seed {seed}", failed):
                for plan in plans.values():  # all, before hours of training
                    plan.check_list(row, seed)
                for plan in plans.values():
                    plan.train_and_score(row, seed)
                done[name] = row
                for stem, plan in plans.items():
                    write_table(stem, table_of(done, plan, arguments.seeds), about(item, done, plan, arguments.seeds))
        for stem, plan in plans.items() if item.draw is not None and done else ():
            with _noted("the picture", failed):
                write_picture(stem, item, done, plan, arguments.seeds)
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    if failed:
        return 1
    for stem in plans:
        print(stem.with_suffix(".md").read_text(encoding="utf-8"))
    return 0


@contextmanager
def _noted(what: str, failed: list[str]) -> Iterator[None]:
    """Log what goes wrong, note its last line, and let the rest go on."""
    try:
        yield
    except Exception as error:
        logging.exception(f"{what} failed")
        failed.append(f"{what}: {error_text(error).splitlines()[-1].removeprefix('error: ')}")


def parse(words: list[str]) -> tuple[argparse.Namespace, Plan]:
    """Arguments of the command line, and what the rows have in common."""
    at = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        prog="python -m experiments.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("item", choices=ITEMS, metavar="TABLE")
    parser.add_argument("--dataset_dir", type=Path, required=True, help="images/, masks/, train.txt, val.txt, test.txt")
    parser.add_argument("--output_dir", type=Path, required=True, help="a folder for all tables; given again: continue")
    parser.add_argument("--budget", choices=BUDGETS, default="paper")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="some of the rows alone")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    parser.add_argument("--split", nargs="+", default=["test"], help="lists to score, a table each (default: test)")
    parser.add_argument("--score_dir", type=Path, help="a data set to score instead, with the weights of the other")
    parser.add_argument("--last", action="store_true", help="score the last epoch's weights, not those of the best one")
    parser.add_argument("--source_labels", help="table10: what the labels' numbers are, see condseg prepare")
    parser.add_argument("--hold_out", nargs="+", default=["val=1"], metavar="SPLIT=N", help="table10: likewise")
    parser.add_argument("--list", action=_List, nargs=0, help="name the tables and their rows, and exit")
    arguments = parser.parse_args(words[:at])
    rows = ITEMS[arguments.item].rows
    if unknown := [name for name in arguments.rows or () if name not in rows]:
        parser.error(f"--rows: {arguments.item} has {', '.join(rows)}, not {', '.join(unknown)}")
    try:
        given = parse_options(words[at + 1 :])
        files = {file for row in rows.values() for file in (*FILES[row.method].train, *FILES[row.method].stage1)}
        known = set().union(*(option_names((file,)) for file in files)) - OWN_OPTIONS
        known = {*known, *(f"stage1_{name}" for name in known)}
        known |= {*(SCORING if ITEMS[arguments.item].kind == "scores" else ())}
        if own := sorted(given.keys() & {*OWN_OPTIONS, *(f"stage1_{name}" for name in OWN_OPTIONS)}):
            raise ValueError(f"{', '.join(own)} is set by this program, see --help: leave it out")
        check_options(given, known)
        chosen = [rows[name] for name in arguments.rows or rows]
        if fixed := sorted(given.keys() & {name for row in chosen for name in row.options}):
            raise ValueError(f"the rows of {arguments.item} differ in {', '.join(fixed)}: leave it out")
    except ValueError as error:
        parser.error(f"after --: {error}")
    if ITEMS[arguments.item].kind != "scores" and len(arguments.split) > 1:
        parser.error(f"--split: {arguments.item} scores one list, got {' '.join(arguments.split)}")
    if ITEMS[arguments.item].kind == "volumes" and len(arguments.seeds) > 1:
        parser.error(f"--seeds: {arguments.item} takes one seed, got {len(arguments.seeds)}: call it once for each")
    try:
        arguments.counts = {
            split: _count(text) for split, _, text in (word.partition("=") for word in arguments.hold_out)
        }
    except ValueError:
        parser.error(f"--hold_out: expected SPLIT=N, such as val=1, got {' '.join(arguments.hold_out)}")
    folders = arguments.dataset_dir.resolve(), arguments.output_dir.resolve()
    score_dir = arguments.score_dir and arguments.score_dir.resolve()
    return arguments, Plan(*folders, arguments.budget, given, arguments.split[0], arguments.last, score_dir)


class _List(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        for name, item in ITEMS.items():
            print(f"{name:24s}{item.title}: {', '.join(item.rows)}")
        parser.exit()


def write_picture(stem: Path, item: Item, rows: Mapping[str, Row], plan: Plan, seeds: Sequence[int]) -> None:
    """Draw the picture of a figure from the rows that are scored."""
    assert item.draw is not None
    picture = item.draw(rows, plan, seeds, item.x)
    with atomic_write(stem.with_suffix(".png")) as file:
        (picture.savefig if hasattr(picture, "savefig") else picture.save)(file, format="png")


def write_table(stem: Path, table: list[list[str]], caption: str) -> None:
    """Write Markdown with a caption, CSV and LaTeX."""
    write(stem.with_suffix(".md"), f"{caption}\n\n{markdown_table(table)}\n")
    write(stem.with_suffix(".csv"), csv_table(table) + "\n")
    write(stem.with_suffix(".tex"), latex_table(table) + "\n")


def _count(text: str) -> int | str:
    return text if text == "odd" else int(text)


def about(item: Item, rows: Mapping[str, Row], plan: Plan, seeds: Sequence[int]) -> str:
    """The title, and how the numbers were made."""
    every = {**BUDGETS[plan.budget], **plan.given}
    also = {
        row.method: [(name, value) for name, value in plan.budget_options(row).items() if name not in every]
        for row in rows.values()
    }
    random = [row.title for row in rows.values() if plan.starts_at_random(row)]
    weights = "the last epoch's weights" if plan.last else "the weights with the best validation mIoU"
    return (
        f"{item.title}. Budget {plan.budget}: {_listed(every.items()) or 'the defaults of the configs'}"
        + "".join(f"; for {method} {_listed(more)}" for method, more in also.items() if more)
        + f"; seeds {', '.join(map(str, seeds))}; {weights}, scored on {plan.split}.txt of {plan.scored_dir.name}."
        + (f" From random weights, not ImageNet's: {', '.join(random)}." if random else "")
    )


def _listed(options: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options)


def table_of(rows: Mapping[str, Row], plan: Plan, seeds: Sequence[int]) -> list[list[str]]:
    """A row for each that is scored: means in per cent, their intervals, the difference to the first row, the time."""
    every = [scores for row in rows.values() for scores in plan.read_scores(row, seeds).values()]
    columns = {name: title for name, title in SCORES.items() if all(name in scored.scores for scored in every)}
    titles = [part for title in columns.values() for part in (title, "95 % interval over images")]
    table = [["", "seeds", *titles, "mIoU, seeds", "mIoU less the first row's"]]
    table[0] += ["mIoU at the threshold that is best for these images, seeds", "seconds", "seconds of processor"]
    table[0] += ["GMAC", "million parameters", "paper's mIoU"]
    first, files = None, None
    for row in rows.values():
        scored = plan.read_scores(row, seeds)
        for seed, scores in scored.items():
            files = files or scores.files
            if scores.files != files:
                raise ValueError(f"{plan.scores(row, seed)} has other images than the first row's: move it away")
        cells = [row.title, str(len(scored))]
        for score in columns:
            images = np.mean([table.scores[score] for table in scored.values()], axis=0)
            cells += [f"{100 * images.mean():.1f}", _interval(images)]
        images = np.mean([table.scores["mean_iou"] for table in scored.values()], axis=0)
        cells.append(", ".join(f"{100 * table.scores['mean_iou'].mean():.1f}" for table in scored.values()))
        cells.append(
            "" if first is None else f"{100 * (images - first).mean():+.1f} ({_interval(images - first, '+')})"
        )
        first = images if first is None else first
        summaries = [plan.summary(row, seed) or {} for seed in scored]
        curves = [summary["thresholds"]["mean_iou"] for summary in summaries if "thresholds" in summary]
        cells.append(", ".join(f"{100 * max(curve):.1f}" for curve in curves))
        times = np.mean([plan.times(row, seed) for seed in scored], axis=0)
        cells += ["" if np.isnan(seconds) else f"{seconds:.0f}" for seconds in times]
        cells += [f"{number:.2f}" for number in plan.cost(row, next(iter(scored)))]
        published = row.paper_iou.get(plan.data_set)
        table.append([*cells, "" if published is None else f"{published:.1f}"])
    return table


def _interval(values: np.ndarray, sign: str = "") -> str:
    low, high = bootstrap_interval(values)
    return f"{100 * low:{sign}.1f} to {100 * high:{sign}.1f}"


if __name__ == "__main__":
    sys.exit(main())

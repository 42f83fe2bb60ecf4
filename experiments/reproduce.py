"""A table or figure of the papers: train and score its rows on one data set, and write it with the papers' numbers.

    .venv/bin/python -m experiments.reproduce table7 --dataset_dir DIR --output_dir runs/table7 --budget small
    .venv/bin/python -m experiments.reproduce --list

``--budget paper`` trains with the configs' defaults, which are the paper's; ``small`` and ``tiny`` are the sizes of
``BUDGETS`` and tell whether it runs and how rows compare in a short training, no more. What follows ``--`` is passed as
options to all rows that have them. Rows that are scored are kept, one that was cut short continues, and the table is
written anew after each: ``table.md``, ``table.csv`` and ``table.tex`` in ``--output_dir``, of sweeps ``figure.png``
too. The weights with the best validation mIoU are scored on ``--split``. The papers' numbers are there where they are
known, and are of the data set they name.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from condseg_monai.cli.workflows import option_names, run, without_card_options
from condseg_monai.utils.method_files import METHODS, Files
from condseg_monai.utils.text_tables import csv_table, latex_table, markdown_table
from experiments.compare_methods import SCORES, summarize, write
from experiments.given_options import check_options, parse_options

BUDGETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "image_size": 32,
        "encoder": "resnet18",
        "encoder_weights": None,
        "decoder_channels": 4,
        "batch_size": 2,
        "epochs": 1,
        "stage1_epochs": 1,
        "num_workers": 0,
    },
    "small": {
        "image_size": 96,
        "encoder": "resnet18",
        "encoder_weights": None,
        "decoder_channels": 32,
        "batch_size": 8,
        "epochs": 10,
        "stage1_epochs": 5,
        "lr_schedule": "cosine",
        "learning_rate": 3e-3,
        "encoder_learning_rate": 1e-3,
        "stage1_encoder_learning_rate": 3e-3,
        "num_workers": 0,
    },
    "paper": {},
}
_RUN = {"panel_interval": 0, "progress_bar": False, "resume": True}
_NET0 = Files(("train_stage1",))
_CONDSEG, _MED_DISSEG, _DEC_SEG = METHODS["condseg"], METHODS["med_disseg"], METHODS["dec_seg"]


class Row(NamedTuple):
    """What is trained and scored: config files, and options of both stages, or with ``stage1_`` of the first."""

    title: str
    files: Files = _CONDSEG
    options: Mapping[str, Any] = {}
    paper_iou: float | None = None
    """The paper's mIoU, in per cent."""


class Item(NamedTuple):
    """A table or figure."""

    title: str
    rows: Mapping[str, Row]
    x: str = ""
    """What the rows' numbers are, of a sweep: drawn as a curve."""
    curves: bool = False
    """Whether to draw the validation scores of the trainings."""


def _sweep(option: str, values: Sequence[Any], word: str = "") -> dict[str, Row]:
    return {str(value): Row(f"{word or option} {value}", options={option: value}) for value in values}


_KVASIR_SESSILE = {
    "unet": Row("U-Net (here MONAI's)", METHODS["unet"], paper_iou=23.1),
    "condseg": Row("ConDSeg", paper_iou=81.2),
}
_NO_DISPERSION = {"dispersive_weight": 0.0}
ITEMS: dict[str, Item] = {
    "table1": Item("ConDSeg, Table 1, Kvasir-Sessile", _KVASIR_SESSILE),
    "table3": Item(
        "ConDSeg, Table 3: training",
        {
            "net0": Row("Net_0", Files(("train_stage1", "without_cr"))),
            "net0_cr": Row("Net_0 with Consistency Reinforcement", _NET0),
            "one_stage": Row("one stage", Files(_CONDSEG.train)),
            "without_cr": Row("two stages without Consistency Reinforcement", METHODS["condseg_without_cr"]),
            "two_stages": Row("two stages"),
        },
    ),
    "table4": Item(
        "ConDSeg, Table 4: modules",
        {
            "baseline": Row("baseline", METHODS["condseg_baseline"]),
            "sid_cdfa": Row("with SID and CDFA", options={"decoders": 1}),
            "sa_decoder": Row("with SA-Decoder too"),
        },
    ),
    "table6": Item(
        "ConDSeg, Table 6: epochs of stage 1", _sweep("stage1_epochs", (5, 10, 20, 50, 100)), "epochs of stage 1"
    ),
    "table7": Item("ConDSeg, Table 7: K of CDFA", _sweep("cdfa_window", (1, 3, 5, 7), "K"), "K"),
    "table9": Item(
        "ConDSeg, Table 9: encoders", _sweep("encoder", ("vgg19", "resnet18", "resnet34", "resnet50", "pvt_v2_b2"))
    ),
    "figure5": Item(
        "ConDSeg, Figure 5: convergence",
        {name: Row(name, METHODS[name]) for name in ("condseg", "flexible_unet", "unet")},
        curves=True,
    ),
    "figure6": Item(
        "ConDSeg, Figure 6: threshold of the consistency loss",
        _sweep("stage1_consistency_threshold", (0.3, 0.4, 0.5, 0.6, 0.7), "threshold"),
        "threshold",
    ),
    "figure7": Item(
        "ConDSeg, Figure 7: kind of the consistency loss",
        _sweep("stage1_consistency_kind", ("bce", "kl", "js", "mse"), "kind"),
    ),
    "med_disseg_table3": Item(
        "Med-DisSeg, Table 3: modules",
        {
            "none": Row("TeLU alone", _MED_DISSEG, {"elat": False, "cbat": False, **_NO_DISPERSION}),
            "elat": Row("with ELAT", _MED_DISSEG, {"cbat": False, **_NO_DISPERSION}),
            "cbat": Row("with ELAT and CBAT", _MED_DISSEG, _NO_DISPERSION),
            "disp1": Row("and dispersion in stage 1", _MED_DISSEG, {**_NO_DISPERSION, "stage1_dispersive_weight": 0.2}),
            "disp2": Row("and in stage 2", _MED_DISSEG),
        },
    ),
    "dec_seg": Item(
        "DEC-Seg, ablation, a tenth of the labels",
        {
            name: Row(title, _DEC_SEG, {"labeled_fraction": 0.1, **options})
            for name, title, options in (
                ("all", "all", {}),
                ("sc", "without scale consistency", {"scale_weight": 0.0}),
                ("spc", "without perturbation consistency", {"perturbation_weight": 0.0}),
                ("cc", "without generative consistency", {"generative_weight": 0.0}),
                ("cfa", "without CFA", {"cfa": False}),
                ("dcf", "without DCF", {"dcf": False}),
                ("supervised", "the labelled images alone", {"unlabeled_batch_size": 0}),
            )
        },
    ),
}
_log = logging.getLogger("reproduce")


def main() -> None:
    """Run what is missing, and write the table after each row."""
    arguments, given = parse(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    item, output_dir = ITEMS[arguments.item], arguments.output_dir.resolve()
    rows = {name: item.rows[name] for name in arguments.rows or item.rows}
    for seed in arguments.seeds:
        for name, row in rows.items():
            folder = output_dir / name / f"seed{seed}"
            check_settings(folder, row, arguments, given)
            train_and_score(row, seed, arguments, given, folder)
            write_table(item, rows, arguments, output_dir)
    print((output_dir / "table.md").read_text(encoding="utf-8"))


def parse(words: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Arguments of the command line, and the configs' options after ``--``."""
    at = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("item", choices=ITEMS, metavar="TABLE")
    parser.add_argument("--dataset_dir", type=Path, required=True, help="images/, masks/, train.txt, val.txt, test.txt")
    parser.add_argument("--output_dir", type=Path, required=True, help="a folder for this table; given again: continue")
    parser.add_argument("--budget", choices=BUDGETS, default="paper")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="some of the rows alone")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    parser.add_argument("--split", default="test", help="the list to score (default: test)")
    parser.add_argument("--list", action=_List, nargs=0, help="name the tables and their rows, and exit")
    arguments = parser.parse_args(words[:at])
    rows = ITEMS[arguments.item].rows
    if unknown := [name for name in arguments.rows or () if name not in rows]:
        parser.error(f"--rows: {arguments.item} has {', '.join(rows)}, not {', '.join(unknown)}")
    try:
        given = parse_options(words[at + 1 :])
        files = {file for row in rows.values() for file in (*row.files.train, *row.files.stage1)}
        known = set().union(*(option_names((file,)) for file in files))
        check_options(given, known | {f"stage1_{name}" for name in known})
    except ValueError as error:
        parser.error(f"after --: {error}")
    return arguments, given


class _List(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        for name, item in ITEMS.items():
            print(f"{name:20s}{item.title}: {', '.join(item.rows)}")
        parser.exit()


def stages(row: Row, arguments: argparse.Namespace, given: Mapping[str, Any]) -> list[tuple[Any, dict[str, Any]]]:
    """The config files of each training of a row, and its options, without folders and seed."""
    budget = dict(BUDGETS[arguments.budget])
    options = {**_RUN, **budget, **row.options, **given}
    stage1 = {name.removeprefix("stage1_"): value for name, value in options.items() if name.startswith("stage1_")}
    both = {name: value for name, value in options.items() if not name.startswith("stage1_")}
    first = {**both, **stage1}
    if row.files.train[0] == "train_stage1":  # Net_0 is all there is
        return [(row.files.train, first)]
    trained = [(row.files.stage1, first)] if row.files.stage1 else []
    return [*trained, (row.files.train, both)]


def check_settings(folder: Path, row: Row, arguments: argparse.Namespace, given: Mapping[str, Any]) -> None:
    """Note what a row is trained with, and raise ``ValueError`` if its folder is of another budget or other options."""
    settings = {"dataset_dir": str(arguments.dataset_dir.resolve()), "stages": stages(row, arguments, given)}
    file, text = folder / "settings.json", json.dumps(settings, indent=2)
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise ValueError(f"{folder} was trained with other options, see {file}: give another --output_dir")
    write(file, text)


def train_and_score(row: Row, seed: int, arguments: argparse.Namespace, given: Mapping[str, Any], folder: Path) -> None:
    """Train one row with one seed and score it, as far as that is not done already."""
    if (folder / "scores" / f"scores_{arguments.split}.csv").is_file():
        _log.info(f"{row.title}, seed {seed}: scored already")
        return
    models = folder / "models"
    places = {"dataset_dir": str(arguments.dataset_dir.resolve()), "ckpt_dir": str(models), "output_dir": str(folder)}
    stage1 = str(models / "stage1.pt") if row.files.stage1 else None
    for files, options in stages(row, arguments, given):
        run(files, {**options, **places, "seed": seed, "stage1_checkpoint": stage1})
    checkpoint = models / ("stage1.pt" if row.files.train[0] == "train_stage1" else "model.pt")
    scored = {**places, "output_dir": str(folder / "scores"), "checkpoint": str(checkpoint), "split": arguments.split}
    evaluate = (*row.files.train, "evaluate")
    run(evaluate, without_card_options(evaluate, {**options, **scored, "resume": False, "overwrite": True}))


def write_table(item: Item, rows: Mapping[str, Row], arguments: argparse.Namespace, output_dir: Path) -> None:
    """Write the table of the rows that are scored, and of a figure its picture."""
    titles = {name: row.title for name, row in rows.items()}
    found = summarize(output_dir, titles, arguments.seeds, arguments.split, "scores")
    head = ["row", "seeds"]
    for title in SCORES.values():
        head += [title, f"{title}, 95 % interval over images"]
    table = [[*head, "paper's mIoU"]]
    for entry in found:
        cells = [entry["title"], str(len(entry["seeds"]))]
        for score in SCORES:
            low, high = entry["scores"][score]["interval_95"]
            cells += [f"{100 * entry['scores'][score]['mean']:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"]
        published = rows[entry["method"]].paper_iou
        table.append([*cells, "" if published is None else f"{published:.1f}"])
    write(output_dir / "table.md", markdown(item, table, arguments))
    write(output_dir / "table.csv", csv_table(table) + "\n")
    write(output_dir / "table.tex", latex_table(table) + "\n")
    if item.x or item.curves:
        draw(item, found, arguments.seeds, output_dir)


def markdown(item: Item, table: Sequence[Sequence[str]], arguments: argparse.Namespace) -> str:
    """The table with its title and budget."""
    budget = (
        ", ".join(f"{name} {value}" for name, value in BUDGETS[arguments.budget].items()) or "the configs' defaults"
    )
    about = f"{item.title}. Budget {arguments.budget}: {budget}; list {arguments.split}; seeds {arguments.seeds}."
    return f"{about}\n\n{markdown_table(table)}\n"


def draw(item: Item, found: Sequence[Mapping[str, Any]], seeds: Sequence[int], output_dir: Path) -> None:
    """Draw mIoU over the rows' numbers, or over the epochs of their trainings."""
    from matplotlib.figure import Figure

    from condseg_monai.training.handlers.training_history import read_history

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(
        xlabel=item.x or "epoch", ylabel="mIoU" if item.x else "validation mIoU", title=item.title
    )
    for entry in () if item.x else found:
        for seed in seeds:
            path = output_dir / entry["method"] / f"seed{seed}" / "history_stage2.csv"
            rows = [row for row in read_history(path) if row.get("val_mean_iou") is not None] if path.is_file() else []
            axes.plot([row["epoch"] for row in rows], [row["val_mean_iou"] for row in rows], label=entry["title"])
    if item.x and found:
        scores = [entry["scores"]["mean_iou"] for entry in found]
        means = [score["mean"] for score in scores]
        low, high = ([abs(score["interval_95"][i] - score["mean"]) for score in scores] for i in (0, 1))
        axes.errorbar([float(entry["method"]) for entry in found], means, yerr=[low, high], marker="o", capsize=3)
    if not item.x:
        axes.legend()
    figure.savefig(output_dir / "figure.png", dpi=150)


if __name__ == "__main__":
    main()

"""Comparison of methods: train on one data set with one budget and the same seeds, and make one table.

Every method trains for as many steps as ``--epochs`` epochs of all images have: one of two stages gives a third of them
to stage 1, and what learns from 25 % of the labels, half of each batch, goes twice through them for each of these
epochs. The weights with the best validation mIoU are scored on ``--split``. Everything runs through the bundle's
configs; what follows ``--`` is passed as options to all methods that have them; for the others it says what they lack.
What is trained and scored already is kept: a comparison that was cut short continues, and methods, seeds or, with
``--split`` and ``--score_dir``, other images can be added later. A run that fails is named at the end, and the others
continue.

    .venv/bin/python -m experiments.compare_methods --dataset_dir DIR --output_dir runs/comparison -- --image_size 96
    .venv/bin/python -m experiments.compare_methods --list

``comparison.md`` and ``comparison.json`` in ``--output_dir`` (with ``--score_dir``, its name in theirs) hold, for each
method: the mean over images and seeds, the lowest and the highest seed, a 95 % bootstrap interval over images (each
image's score averaged over the seeds), and the difference to the first method with its interval, image by image.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from condseg_monai.cli.workflows import option_names, run, without_card_options
from condseg_monai.utils.errors import root_cause
from condseg_monai.utils.method_files import METHODS as METHOD_FILES
from experiments.given_options import check_options, parse_options

if TYPE_CHECKING:
    import numpy as np

SCORES = {"mean_dice": "mDSC", "mean_iou": "mIoU"}
OPTIONS: dict[str, Any] = {
    "encoder_weights": None,
    "image_size": 96,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "encoder_learning_rate": 1e-3,
    "num_workers": 0,
    "panel_interval": 0,
    "save_interval": 0,
    "progress_bar": False,
}
_log = logging.getLogger("compare_methods")


class Method(NamedTuple):
    """What a method trains: config files that are read together, and options of its own, which come last."""

    title: str
    train: tuple[str, ...]
    stage1: tuple[str, ...] = ()
    """Empty for a method of one stage."""
    options: Mapping[str, Any] = {}
    passes: int = 1
    """Epochs of its own in the time of one of ``--epochs``."""


_MED_DISSEG = (METHOD_FILES["med_disseg"].train, METHOD_FILES["med_disseg"].stage1)
_DEC_SEG, _STUDENT = METHOD_FILES["dec_seg"].train, METHOD_FILES["condseg_student"].train
# The seed draws the labelled cases: the same for all of these.
_LABELS: dict[str, Any] = {"labeled_fraction": 0.25}
_PASSES = 2  # an epoch is one pass over the labelled images: half of a batch, a quarter of all
_SGD = {"learning_rate": 0.01, "encoder_learning_rate": 0.01}  # DEC-Seg's optimizer, at the rate of its paper
_ALONE = {"unlabeled_batch_size": 0}
METHODS: dict[str, Method] = {
    "condseg": Method("ConDSeg", METHOD_FILES["condseg"].train, METHOD_FILES["condseg"].stage1),
    "condseg_one_stage": Method("ConDSeg, stage 2 alone", METHOD_FILES["condseg"].train),
    "condseg_without_cr": Method(
        "ConDSeg without Consistency Reinforcement",
        METHOD_FILES["condseg_without_cr"].train,
        METHOD_FILES["condseg_without_cr"].stage1,
    ),
    "condseg_baseline": Method(
        "ConDSeg without SID and CDFA, one decoder",
        METHOD_FILES["condseg_baseline"].train,
        METHOD_FILES["condseg_baseline"].stage1,
    ),
    "condseg_one_decoder": Method(
        "ConDSeg, one decoder", METHOD_FILES["condseg"].train, METHOD_FILES["condseg"].stage1, {"decoders": 1}
    ),
    "med_disseg": Method("Med-DisSeg", *_MED_DISSEG),
    "med_disseg_released": Method(
        "Med-DisSeg, dispersion as released (not normalised)", *_MED_DISSEG, {"dispersive_normalize": False}
    ),
    "dec_seg": Method("DEC-Seg, 25 % of the labels", _DEC_SEG, (), {**_LABELS, **_SGD}, _PASSES),
    "dec_seg_supervised": Method("DEC-Seg, the same 25 % alone", _DEC_SEG, (), {**_LABELS, **_SGD, **_ALONE}, _PASSES),
    "condseg_student": Method("ConDSeg as DEC-Seg's student, 25 % of the labels", _STUDENT, (), _LABELS, _PASSES),
    "condseg_student_supervised": Method("ConDSeg, the same 25 % alone", _STUDENT, (), {**_LABELS, **_ALONE}, _PASSES),
    "flexible_unet": Method("UNet's decoder on the same encoder", METHOD_FILES["flexible_unet"].train),
    "unet": Method("MONAI's UNet", METHOD_FILES["unet"].train),
}


def main() -> int:
    """Run what is missing, print and write the table; 1 if a run failed."""
    options, given = parse(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    output_dir: Path = options.output_dir.resolve()
    failed = []
    for seed in options.seeds:  # seeds outside: a comparison that is cut short has whole rows of methods
        for name in options.methods:
            try:
                train_and_score(name, seed, options, given, output_dir / name / f"seed{seed}")
            except Exception as error:
                _log.exception(f"{name}, seed {seed} failed")
                cause = root_cause(error)
                failed.append(f"{name}, seed {seed}: {type(cause).__name__}: {cause}")
    titles = {name: METHODS[name].title for name in options.methods}
    rows = summarize(output_dir, titles, options.seeds, options.split, scores_folder(options))
    budget = {"epochs": options.epochs, "seeds": options.seeds, "split": options.split, **OPTIONS, **given}
    text = render(rows, options.split)
    stem = scores_folder(options).replace("scores", "comparison")
    write(output_dir / f"{stem}.json", json.dumps({"budget": budget, "methods": rows, "failed": failed}, indent=2))
    write(output_dir / f"{stem}.md", text)
    print(text)
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The comparison's own options, and those of the bundle after ``--``."""
    at = list(arguments).index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", type=Path, required=True, help="images/, masks/, train.txt, val.txt, test.txt")
    parser.add_argument("--output_dir", type=Path, required=True, help="a folder for weights, records and scores")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    parser.add_argument("--epochs", type=int, default=15, help="of each method, all its stages together (default: 15)")
    parser.add_argument("--split", default="test", help="the list to score (default: test)")
    parser.add_argument("--score_dir", type=Path, help="a data set to score instead, with the weights trained already")
    parser.add_argument("--list", action=_List, nargs=0, help="name the methods and exit")
    options = parser.parse_args(arguments[:at])
    if options.epochs < 3:
        parser.error(f"--epochs must be at least 3: a third of them is stage 1, got {options.epochs}")
    try:
        given = parse_options(arguments[at + 1 :])
        check_options(given, set().union(*(option_names(files_of(name)) for name in options.methods)))
    except ValueError as error:
        parser.error(f"after --: {error}")
    return options, given


def scores_folder(options: argparse.Namespace) -> str:
    """The folder of a run's scores, its own for each data set that is scored."""
    if options.score_dir is None:
        return "scores"
    path = options.score_dir.resolve()
    return f"scores_{path.name}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"  # many are called "dataset"


class _List(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print("\n".join(f"{name:28s}{method.title}" for name, method in METHODS.items()))
        parser.exit()


def files_of(name: str) -> tuple[str, ...]:
    """The config files of every stage of a method."""
    return (*METHODS[name].stage1, *METHODS[name].train)


def train_and_score(name: str, seed: int, options: argparse.Namespace, given: Mapping[str, Any], folder: Path) -> None:
    """Train one method with one seed and score it, as far as that is not done already."""
    scores = folder / scores_folder(options)
    if (scores / f"scores_{options.split}.csv").is_file():
        _log.info(f"{name}, seed {seed}: scored already")
        return
    method, models = METHODS[name], folder / "models"
    if missing := sorted(given.keys() - option_names(files_of(name))):
        _log.warning(f"{name} has no option {', '.join(missing)}: trained without")
    stage1_epochs = options.epochs // 3 if method.stage1 else 0
    common = {
        **OPTIONS,
        **given,
        **method.options,
        "seed": seed,
        "dataset_dir": str(options.dataset_dir.resolve()),
        "ckpt_dir": str(models),
        "output_dir": str(folder),
        "overwrite": True,
        "stage1_checkpoint": str(models / "stage1.pt") if method.stage1 else None,
    }
    if not (folder / "seconds.json").is_file():  # written when all is trained
        start = time.perf_counter()
        if method.stage1:
            run(method.stage1, {**common, "epochs": stage1_epochs})
        run(method.train, {**common, "epochs": method.passes * (options.epochs - stage1_epochs)})
        seconds = time.perf_counter() - start
        write(folder / "seconds.json", json.dumps({"training": round(seconds, 1)}))
        _log.info(f"{name}, seed {seed}: trained in {seconds:.0f} s")
    scored = {"output_dir": str(scores), "split": options.split, "checkpoint": str(models / "model.pt")}
    if options.score_dir is not None:
        scored["dataset_dir"] = str(options.score_dir.resolve())
    evaluate = (*method.train, "evaluate")
    run(evaluate, without_card_options(evaluate, {**common, **scored}))


def summarize(
    output_dir: Path, titles: Mapping[str, str], seeds: Sequence[int], split: str, scores: str
) -> list[dict[str, Any]]:
    """One entry per method that has scores of at least one seed; the first one is what the others are compared with.

    Args:
        output_dir: has ``METHOD/seedN/SCORES/scores_SPLIT.csv``.
        titles: of the methods.
        seeds: to look for.
        split: the list that was scored.
        scores: the name of the folder of scores.
    """
    from condseg_monai.metrics.bootstrap import bootstrap_interval

    rows: list[dict[str, Any]] = []
    first: dict[str, Any] = {}
    for name, title in titles.items():
        tables, found = read_tables(
            [(seed, output_dir / name / f"seed{seed}" / scores / f"scores_{split}.csv") for seed in seeds]
        )
        if not tables:
            continue
        row: dict[str, Any] = {"method": name, "title": title, "seeds": found, "scores": {}}
        for score in SCORES:
            by_seed = tables[score]  # (seeds, images)
            images = by_seed.mean(axis=0)
            row["images"] = len(images)
            entry = {
                "mean": float(images.mean()),
                "interval_95": list(bootstrap_interval(images)),
                "by_seed": [float(value) for value in by_seed.mean(axis=1)],
            }
            if rows and first[score].shape == images.shape:
                entry["difference"] = float((images - first[score]).mean())
                entry["difference_interval_95"] = list(bootstrap_interval(images - first[score]))
            elif not rows:
                first[score] = images
            row["scores"][score] = entry
        rows.append(row)
    return rows


def read_tables(paths: Sequence[tuple[int, Path]]) -> tuple[dict[str, np.ndarray[Any, Any]], list[int]]:
    """Scores ``(seeds, images)`` by name, images in the order of their names, and the seeds that there are."""
    import numpy as np

    from condseg_monai.reports.score_table import ScoreTable

    tables = {}
    for seed, path in paths:
        if path.is_file():
            table = ScoreTable.read(path)
            tables[seed] = table.select(np.argsort(table.files))
    if not tables:
        return {}, []
    return {score: np.stack([table.scores[score] for table in tables.values()]) for score in SCORES}, list(tables)


def render(rows: Sequence[Mapping[str, Any]], split: str) -> str:
    """The table, as Markdown."""
    if not rows:
        return "nothing to compare: no method has scores\n"
    from condseg_monai.utils.text_tables import markdown_table

    titles = [f"{title} ({part})" for title in SCORES.values() for part in ("mean", "seeds", "95 % interval")]
    difference = f"mDSC less that of {rows[0]['title']} (95 % interval)"
    table = [[f"{split}, {rows[0]['images']} images", *titles, difference]]
    for row in rows:
        cells = [row["title"]]
        for score in SCORES:
            entry = row["scores"][score]
            low, high = entry["interval_95"]
            seeds = ", ".join(f"{value:.3f}" for value in entry["by_seed"])
            cells += [f"{entry['mean']:.3f}", seeds, f"{low:.3f} to {high:.3f}"]
        entry = row["scores"]["mean_dice"]
        low, high = entry.get("difference_interval_95", (0, 0))
        cells.append(f"{entry['difference']:+.3f} ({low:+.3f} to {high:+.3f})" if "difference" in entry else "")
        table.append(cells)
    return markdown_table(table) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    from condseg_monai.utils.files import atomic_write

    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

"""Command ``split``: lists of a data set, for training, validation and test or for folds."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from condseg_monai.cli.config_options import ConfigCommand, mask_words, read_classes, with_config_options
from condseg_monai.cli.console import heading, say
from condseg_monai.cli.program import PathValue
from condseg_monai.utils.text_tables import text_table

__all__ = ["command"]


@click.command("split", cls=ConfigCommand, short_help="Draw the lists of a data set.")
@click.argument("dataset_dir", metavar="DIR", type=PathValue(exists=True, file_okay=False))
@click.option("--val", type=float, default=0.1, show_default=True, help="share of val.txt")
@click.option("--test", type=float, default=0.1, show_default=True, help="share of test.txt; 0: none")
@click.option("--folds", type=click.IntRange(2), metavar="K", help="make K folds instead of train.txt and val.txt")
@click.option("--group", metavar="PATTERN|CSV", help="keep the images of a patient together, see above")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--mask_threshold", type=float, help="mask values above it are lesion  [default: 127]")
@click.option("--mask_suffix", default="", help="what masks have behind their image's stem, such as _mask")
@click.option("--overwrite", is_flag=True, help="replace lists that are there")
@with_config_options(("class_names", "class_values"))
def command(
    dataset_dir: Path,
    val: float,
    test: float,
    folds: int | None,
    group: str | None,
    seed: int,
    mask_threshold: float | None,
    mask_suffix: str,
    overwrite: bool,
    class_names: list[str] | None,
    class_values: list[Any] | None,
) -> None:
    """Write train.txt, val.txt and test.txt of DIR, which has images/ and masks/, and split.json, how they were drawn.

    Every list has its share of small, middle and large lesions and of empty masks; images with equal pixels stay
    together. With --class_names, all classes but the background count as lesion. --group keeps the images of a patient
    on one list: a regular expression, whose first parenthesis is the patient, such as '^(\\w+?)_', or a CSV file of
    name,group. With --folds, condseg train DIR --fold 0 trains on the first fold, and so on; test.txt is held out of
    all.
    """
    from condseg_monai.data.lists.splitting import split_dataset

    shares = {"test": test} if folds else {"train": round(1 - val - test, 9), "val": val, "test": test}
    classes = read_classes(class_names, class_values, mask_threshold)
    threshold = 127 if mask_threshold is None else mask_threshold
    record = split_dataset(dataset_dir, shares, folds, seed, group, threshold, mask_suffix, overwrite, classes)
    rows = [("list", "cases", "groups", "empty", "median lesion share", "SHA-256")]
    for name, facts in record["lists"].items():
        share = facts["median_lesion_share"]
        rows.append(
            (
                f"folds/{name}.txt" if "/" in name else f"{name}.txt",
                str(facts["cases"]),
                str(facts["groups"]),
                str(facts["empty_masks"]),
                "-" if share is None else f"{share:.4f}",
                facts["sha256"][:12],
            )
        )
    click.echo(text_table(rows, left=(0,)))
    words = ["condseg", "train", str(dataset_dir), *(["--fold=0"] if folds else [])]
    words += mask_words(mask_threshold, mask_suffix, class_names, class_values)
    say(f"\n{dataset_dir / 'split.json'} has how they were drawn\n{heading('Next')}\n  {shlex.join(words)}")

"""The data set of the short trainings: Kvasir-Sessile's training images, and others of Kvasir-SEG to score.

    .venv/bin/python -m experiments.polyp_lists --sessile_dir DIR --kvasir_dir DIR --output_dir runs/polyps

``train.txt`` has the images of Kvasir-Sessile's; ``val.txt`` has ``--count`` images, drawn by a fixed seed, of
Kvasir-SEG's ``train.txt`` that are in no list of Kvasir-Sessile, so that no list that scores are reported on is looked
at. Images and masks are links.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable
from pathlib import Path


def main() -> None:
    """Make the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessile_dir", type=Path, required=True, help="Kvasir-Sessile: images/, masks/, the lists")
    parser.add_argument("--kvasir_dir", type=Path, required=True, help="Kvasir-SEG: images/, masks/, train.txt")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder")
    parser.add_argument("--count", type=int, default=200, help="images to score [200]")
    options = parser.parse_args()
    sessile, kvasir = options.sessile_dir.resolve(), options.kvasir_dir.resolve()
    known = {name for split in ("train", "val", "test") for name in read_list(sessile / f"{split}.txt")}
    others = [name for name in read_list(kvasir / "train.txt") if name not in known]
    chosen = random.Random(0).sample(others, min(options.count, len(others)))
    lists = {"train": (sessile, read_list(sessile / "train.txt")), "val": (kvasir, chosen)}
    link_lists(lists, options.output_dir.resolve())


def read_list(path: Path) -> list[str]:
    """The stems in a list file."""
    return [Path(line).stem for line in path.read_text(encoding="utf-8").split()]


def link_lists(lists: dict[str, tuple[Path, Iterable[str]]], dataset_dir: Path) -> None:
    """Make a data set of links.

    Args:
        lists: the folder and the stems of each list.
        dataset_dir: a new folder.

    Raises:
        FileNotFoundError: naming the file that is listed and missing.
    """
    for folder in ("images", "masks"):
        (dataset_dir / folder).mkdir(parents=True)
        for source, stems in lists.values():
            for stem in stems:
                file = next((source / folder).glob(f"{stem}.*"), None)
                if file is None:
                    raise FileNotFoundError(f"{source / folder} has no file for {stem}: complete the data set")
                (dataset_dir / folder / file.name).symlink_to(file)
    for split, (_, stems) in lists.items():
        (dataset_dir / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")


if __name__ == "__main__":
    main()

"""From the lines of a data set's lists to pairs of files, and what stands in the way."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple

from condseg_monai.data.images.image_reader import IMAGE_EXTENSIONS

__all__ = ["DatasetError", "Finding"]

SPLITS = ("train", "val", "test")
_LAYOUT = (
    "a data set is a folder with images/, masks/, train.txt, val.txt and, if wanted, test.txt; each line of a list is "
    "the name of a file in images/, with or without its extension, and its mask has the same stem"
)

Case = dict[str, str]


class DatasetError(ValueError):
    """Everything that is wrong with a data set or a list of images, one line each, and what to do about it."""


class Finding(NamedTuple):
    """Something about a data set that is wrong or worth knowing.

    Attributes:
        kind: ``"layout"``, ``"list"``, ``"pair"``, ``"overlap"`` and so on, for programs.
        text: one line for people.
        files: every file it is about, where the text has only the first few; of a pair those that are there.
    """

    kind: str
    text: str
    files: tuple[str, ...] = ()


class Pairing(NamedTuple):
    """What :func:`find_cases` found.

    Attributes:
        cases: for each split asked for its cases in the order of the list, without those that have no files.
        problems: what stands in the way.
        listed: the stems of all lists there are.
    """

    cases: dict[str, list[Case]]
    problems: list[Finding]
    listed: set[str]


def find_cases(root: Path, splits: Sequence[str]) -> Pairing:
    """Pair the lines of the lists with files by name; nothing is opened but the lists.

    Args:
        root: folder of the data set.
        splits: the splits that are about to be used; the other lists are only searched for overlap with these.

    Raises:
        ValueError: if a split is not one of ``SPLITS``.
    """
    unknown = [split for split in splits if split not in SPLITS]
    if unknown:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {', '.join(map(repr, unknown))}")
    cases: dict[str, list[Case]] = {split: [] for split in splits}
    if missing := missing_parts(root, splits, _LAYOUT):
        return Pairing(cases, missing, set())
    images, masks = index_by_stem(root / "images"), index_by_stem(root / "masks")
    problems: list[Finding] = []
    stems: dict[str, list[str]] = {}
    for split in (name for name in SPLITS if (root / f"{name}.txt").is_file()):
        try:
            lines = read_list(root / f"{split}.txt")
        except DatasetError as error:
            problems.append(Finding("list", str(error)))
            continue
        stems[split] = [stem_of_line(line, images) for line in lines]
        if split in splits:
            problems += [Finding("list", text) for text in list_problems(split, stems[split])]
            for stem in dict.fromkeys(stems[split]):
                case, wrong = pair_stem(stem, images, masks)
                there = tuple(str(path) for index in (images, masks) for path in index.get(stem, []))
                problems += [Finding("pair", f"{split}.txt: {stem}: {text}", there) for text in wrong]
                cases[split] += [case] if case else []
    problems += [Finding("overlap", text) for text in overlaps(stems, splits)]
    return Pairing(cases, problems, {stem for listed in stems.values() for stem in listed})


def folder_problem(root: Path) -> str | None:
    """Why a data set cannot be read at all, if so: its folder is not there, or is no folder."""
    if root.is_dir():
        return None
    return f"{root} is not a folder" if root.exists() else f"{root} does not exist"


def missing_parts(root: Path, lists: Sequence[str], layout: str) -> list[Finding]:
    """What a data set lacks, in one finding that ends with ``layout``, how it should be laid out; or nothing.

    Args:
        root: folder of the data set.
        lists: names of the lists that are about to be used, without ``.txt``.
        layout: one line.
    """
    if problem := folder_problem(root):
        return [Finding("layout", problem)]
    missing = [f"{name}/ is missing" for name in ("images", "masks") if not (root / name).is_dir()]
    missing += [f"{name}.txt is missing" for name in lists if not (root / f"{name}.txt").is_file()]
    return [Finding("layout", f"{', '.join(missing)}; {layout}")] if missing else []


def pair_all(root: Path) -> Pairing:
    """Pair every file of ``images/``, for a data set that has no list yet; the split is called ``"images"``."""
    images, masks = index_by_stem(root / "images"), index_by_stem(root / "masks")
    cases: list[Case] = []
    problems: list[Finding] = []
    for stem in images:
        case, wrong = pair_stem(stem, images, masks)
        problems += [Finding("pair", f"{stem}: {text}") for text in wrong]
        cases += [case] if case else []
    return Pairing({"images": cases}, problems, set(images))


def find_unlisted(root: Path, listed: Container[str]) -> list[Finding]:
    """Files in ``images/`` and ``masks/`` that no list asks for; nothing is opened.

    Args:
        root: folder of the data set, which has both folders.
        listed: the stems of all lists.
    """
    images, masks = index_by_stem(root / "images"), index_by_stem(root / "masks")
    groups = {
        "unlisted": ("{} in images/ on no list", [p for key in images if key not in listed for p in images[key]]),
        "orphan": (
            "{} in masks/ without an image",
            [p for key in masks if key not in images and key not in listed for p in masks[key]],
        ),
        "no image": (
            f"{{}} in images/ or masks/ left out, for want of an extension of {', '.join(IMAGE_EXTENSIONS)}",
            [p for name in ("images", "masks") for p in sorted((root / name).iterdir()) if _is_no_image(p)],
        ),
    }
    return [
        Finding(kind, f"{text.format(f'{len(paths)} file(s)')}: {some(paths)}", tuple(map(str, paths)))
        for kind, (text, paths) in groups.items()
        if paths
    ]


def some(paths: Sequence[str | PathLike[str]], count: int = 5) -> str:
    """The names of the first few files and how many more there are."""
    names = ", ".join(Path(path).name for path in paths[:count])
    return names if len(paths) <= count else f"{names} and {len(paths) - count} more"


def list_image_files(folder: Path) -> list[Path]:
    """Files of a folder that have an image's extension, in any case, sorted by name; hidden ones are left out."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_EXTENSIONS and path.is_file())
    return sorted(path for path in files if not path.name.startswith("."))


def read_list(path: Path) -> list[str]:
    """Non-empty lines of a UTF-8 text file, without surrounding blanks.

    Raises:
        DatasetError: if the file cannot be read as such.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as UTF-8 text: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def name_key(name: str) -> str:
    """One spelling for names that look alike: macOS stores an accented letter as two characters."""
    return unicodedata.normalize("NFC", name)


def index_by_stem(folder: Path) -> dict[str, list[Path]]:
    """Image files of a folder by stem."""
    index: dict[str, list[Path]] = {}
    for path in list_image_files(folder):
        index.setdefault(name_key(path.stem), []).append(path)
    return index


def stem_of_line(line: str, images: Mapping[str, list[Path]]) -> str:
    """The stem a line means: itself, or itself without an extension (``scan.2`` is a stem, ``scan.jpg`` is not)."""
    line = name_key(line)
    if line in images or Path(line).suffix.lower() not in IMAGE_EXTENSIONS:
        return line
    return line[: -len(Path(line).suffix)]


def _is_no_image(path: Path) -> bool:
    return not path.name.startswith(".") and not (path.is_file() and path.suffix.lower() in IMAGE_EXTENSIONS)


def list_problems(split: str, stems: Sequence[str]) -> list[str]:
    """What is wrong with the list itself."""
    if not stems:
        return [f"{split}.txt is empty"]
    return [f"{split}.txt: {stem}: is there {count} times" for stem, count in Counter(stems).items() if count > 1]


def pair_stem(
    stem: str, images: Mapping[str, list[Path]], masks: Mapping[str, list[Path]] | None
) -> tuple[Case | None, list[str]]:
    """The image and mask of one stem, or why there is none; the image alone if ``masks`` is None."""
    wrong = []
    for folder, index in (("images", images), ("masks", masks)):
        if index is None:
            continue
        found = index.get(stem, [])
        if "/" in stem or "\\" in stem:
            return None, ["a line is a file name in images/, not a path"]
        if not found:
            alike = sorted(path.name for key, paths in index.items() if key.startswith(stem) for path in paths)
            wrong.append(f"{folder}/ has no such file" + (f", but it has {', '.join(alike[:3])}" if alike else ""))
        elif len(found) > 1:
            wrong.append(f"{folder}/ has {' and '.join(path.name for path in found)}; keep one of them")
    if wrong:
        return None, wrong
    case = {"image": str(images[stem][0])}
    return (case if masks is None else {**case, "label": str(masks[stem][0])}), []


def overlaps(stems: Mapping[str, Sequence[str]], splits: Sequence[str]) -> list[str]:
    """Cases that are in two lists of which one at least is in use."""
    names = list(stems)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if a in splits or b in splits]
    return [
        f"{stem}: is in both {a}.txt and {b}.txt; remove it from one of them"
        for a, b in pairs
        for stem in sorted(set(stems[a]) & set(stems[b]))
    ]


def raise_if_any(dataset_dir: str | PathLike[str], problems: Sequence[Finding]) -> None:
    """Raise one DatasetError that lists all of ``problems``, if there are any."""
    if problems:
        lines = "\n".join(f"  - {problem.text}" for problem in problems)
        raise DatasetError(
            f"the data set {fspath(dataset_dir)} has {len(problems)} problem(s); "
            f"fix them or take the cases off the lists:\n{lines}"
        )

"""Pairing of images and masks by the lists of a dataset, and what is wrong with them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from condseg_monai.data.images.image_reader import IMAGE_EXTENSIONS

__all__ = ["MASK_SUFFIX", "DatasetError", "Finding"]

SPLITS = ("train", "val", "test")
FOLD_SPLITS = ("train", "val")
_LAYOUT = (
    "a data set is a folder with images/, masks/, train.txt, val.txt and, if wanted, test.txt; each line of a list is "
    "the name of a file in images/, with or without its extension (case_1, or day_1/case_1 in a sub-folder), and its "
    "mask has the same stem"
)

MASK_SUFFIX = "mask suffix"

Case = dict[str, str]
Index = dict[str, list[Path]]


class DatasetError(ValueError):
    """Everything that is wrong with a dataset or a list of images, one line each, and what to do about it."""


class Finding(NamedTuple):
    """Something wrong or odd: its kind (``"list"``, ``"pair"`` ...), one line of text, all files it is about."""

    kind: str
    text: str
    files: tuple[str, ...] = ()


class Lists(NamedTuple):
    """Files by stem, the stems of each list that could be read, and what is wrong with the lists."""

    images: Index
    masks: Index
    stems: dict[str, list[str]]
    problems: list[Finding]
    mask_suffix: str = ""


class Pairing(NamedTuple):
    """Cases of each split that have both files, what is wrong with the others, and the stems of all lists there are."""

    cases: dict[str, list[Case]]
    problems: list[Finding]
    listed: set[str]


def fold_dir(root: Path, fold: int | None) -> Path:
    """Where the lists of a fold are; of None, those of the data set."""
    return root if fold is None else root / "folds" / str(fold)


def find_cases(root: Path, splits: Sequence[str], fold: int | None = None, mask_suffix: str = "") -> Pairing:
    """Pair the lines of ``splits`` with files by name; ``SPLITS`` are searched for overlap with these.

    The lists are those of the data set, or of a fold ``train`` and ``val`` in ``folds/K``. What any list of the data
    set names is among those listed.
    Masks are called as their images, with ``mask_suffix`` behind the stem, in the same sub-folder. If ``images/`` has
    sub-folders, each case has a ``name`` too: its path in ``images/`` without extension.
    """
    lists = read_lists(root, splits, SPLITS, fold=fold, mask_suffix=mask_suffix)
    pairing = pair(lists, {split: lists.stems.get(split, []) for split in splits})
    for file in root.glob("*.txt"):
        if file.stem not in lists.stems:
            with suppress(DatasetError):  # a text that is no list
                pairing.listed.update(stem_of_line(line, lists.images) for line in read_list(file))
    return pairing


def read_lists(
    root: Path,
    splits: Sequence[str],
    others: Iterable[str],
    layout: str = _LAYOUT,
    fold: int | None = None,
    mask_suffix: str = "",
) -> Lists:
    """Read the lists of ``splits``, and of ``others`` where there, and check that none shares or repeats a line.

    Raises:
        ValueError: if a split is not the name of a file in ``root``.
    """
    if paths := [name for name in splits if Path(name).name != name]:
        raise ValueError(f"split must be the name of a list in {root}, without its .txt, got {paths[0]!r}")
    files = {name: fold_dir(root, fold if name in FOLD_SPLITS else None) / f"{name}.txt" for name in {*splits, *others}}
    missing = [f"{name}/ is missing" for name in ("images", "masks") if not (root / name).is_dir()]
    no_list = [f"{files[name].relative_to(root)} is missing" for name in splits if not files[name].is_file()]
    folds = "" if fold is None else " --folds K"
    remedy = f"condseg split {root}{folds} makes lists"
    if fold is None and (root / "folds").is_dir():
        remedy = "--fold 0 takes those in folds/0"
    there = [f"there is {', '.join(texts)}"] if (texts := sorted(file.name for file in root.glob("*.txt"))) else []
    missing += [*no_list, *there, remedy] if no_list else []
    if problem := folder_problem(root) or (f"{', '.join(missing)}; {layout}" if missing else None):
        return Lists({}, {}, {}, [Finding("layout", problem)])
    lists = _files_of(root, mask_suffix)
    names = {*splits, *others}
    for name in [*(name for name in splits if name not in SPLITS), *(name for name in SPLITS if name in names)]:
        if not files[name].is_file():
            continue
        try:
            lines = read_list(files[name])
        except DatasetError as error:
            lists.problems.append(Finding("list", str(error)))
            continue
        stems = lists.stems[name] = [stem_of_line(line, lists.images) for line in lines]
        if name in splits:
            texts = [f"{stem}: is there {count} times" for stem, count in Counter(stems).items() if count > 1]
            lists.problems.extend(Finding("list", f"{name}.txt: {text}") for text in texts)
            lists.problems.extend([] if stems else [Finding("list", f"{name}.txt is empty")])
    lists.problems.extend(_overlaps(lists.stems, splits))
    return lists


def pair(
    lists: Lists, stems: Mapping[str, Iterable[str]], without_mask: Container[str] = (), where: str = "{}.txt: "
) -> Pairing:
    """Pair the stems of each split with files; masks of splits in ``without_mask`` are not looked for."""
    cases: dict[str, list[Case]] = {split: [] for split in stems}
    labelled = {stem for split, listed in stems.items() if split not in without_mask for stem in listed}
    suffix, explained = _suffix_problem(lists, labelled & lists.images.keys())
    problems = [*lists.problems, *suffix]
    has_folders = any("/" in stem for stem in lists.images)
    for split, listed in stems.items():
        folders = {"image": lists.images} if split in without_mask else {"image": lists.images, "label": lists.masks}
        for stem in dict.fromkeys(stem for stem in listed if split in without_mask or stem not in explained):
            found = {key: index.get(stem, []) for key, index in folders.items()}
            if wrong := _pair_problems(stem, found, folders):
                files = tuple(str(path) for paths in found.values() for path in paths) or (stem,)
                problems += [Finding("pair", f"{where.format(split)}{stem}: {text}", files) for text in wrong]
            else:
                named = {"name": stem} if has_folders else {}
                cases[split].append({**{key: str(paths[0]) for key, paths in found.items()}, **named})
    return Pairing(cases, problems, {stem for listed in lists.stems.values() for stem in listed})


def _files_of(root: Path, mask_suffix: str) -> Lists:
    return Lists(index_by_stem(root / "images"), index_by_stem(root / "masks", mask_suffix), {}, [], mask_suffix)


def _suffix_problem(lists: Lists, stems: Set[str]) -> tuple[list[Finding], Set[str]]:
    """A suffix that most masks have and the data set is read without, or the other way round; the cases it explains."""
    missing = stems - lists.masks.keys()
    if lists.mask_suffix and stems and not lists.masks:
        text = f"no file in masks/ has {lists.mask_suffix} behind its stem: give another --mask_suffix, or none"
        return [Finding(MASK_SUFFIX, text)], missing
    found = Counter(mask[cut:] for mask in lists.masks for cut in range(1, len(mask)) if mask[:cut] in missing)
    suffix, count = found.most_common(1)[0] if found else ("", 0)
    if count <= len(stems) - len(missing):
        return [], set()
    explained = {stem for stem in missing if stem + suffix in lists.masks}
    files = [str(path) for stem in sorted(explained) for path in lists.masks[stem + suffix]]
    suffix += lists.mask_suffix
    text = f"{count} mask(s) have {suffix} behind their image's stem, {some(files, 2)}: give --mask_suffix={suffix}"
    return [Finding(MASK_SUFFIX, text, tuple(files))], explained


def pair_all(root: Path, mask_suffix: str = "") -> Pairing:
    """Pair every file of ``images/``, for a dataset that has no list yet; the split is called ``"images"``."""
    lists = _files_of(root, mask_suffix)
    return pair(lists, {"images": lists.images}, where="")._replace(listed=set(lists.images))


def folder_problem(root: Path) -> str | None:
    """Why a dataset cannot be read at all, if so: its folder is not there, or is no folder."""
    if root.is_dir():
        return None
    return f"{root} is not a folder" if root.exists() else f"{root} does not exist"


def find_unlisted(root: Path, listed: Collection[str], mask_suffix: str = "") -> list[Finding]:
    """Find files in ``images/`` and ``masks/`` that no list asks for; nothing is opened.

    Among them are second masks of an image (``x_mask_1.png`` beside ``x_mask.png``), which nothing reads.
    """
    images, masks = index_by_stem(root / "images"), index_by_stem(root / "masks")
    known = {stem + mask_suffix for stem in set(listed) | images.keys()}
    other = f", or without {mask_suffix} behind its stem" * bool(mask_suffix)
    groups = {
        "unlisted": ("{} in images/ on no list", [p for key in images if key not in listed for p in images[key]]),
        "orphan": (
            f"{{}} in masks/ without an image{other}",
            [p for key in masks if key not in known for p in masks[key]],
        ),
        "no image": (
            f"{{}} in images/ or masks/ left out, for want of an extension of {', '.join(IMAGE_EXTENSIONS)}",
            [path for name in ("images", "masks") for path in list_other_files(root / name, nested=True)],
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


def list_image_files(folder: Path, nested: bool = False) -> list[Path]:
    """Files of a folder that have an image's extension, in any case, sorted by name; hidden ones are left out.

    Links to files that are gone are among them, so that whoever reads them names them. ``nested`` lists those of
    sub-folders too.
    """
    return [path for path in _visible(folder, nested) if _is_image(path)]


def is_dangling(path: Path) -> bool:
    """Whether a path is a link to a file that is gone."""
    return path.is_symlink() and not path.exists()


def list_other_files(folder: Path, nested: bool = False) -> list[Path]:
    """What a folder has besides its image files, hidden files aside; ``nested`` lists that of sub-folders too."""
    return [path for path in _visible(folder, nested) if not _is_image(path)]


def read_list(path: Path) -> list[str]:
    """Non-empty lines of a UTF-8 text file, without surrounding blanks; a DatasetError if it is none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as UTF-8 text: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def name_key(name: str) -> str:
    """One spelling for names that look alike: macOS stores an accented letter as two characters."""
    return unicodedata.normalize("NFC", name)


def index_by_stem(folder: Path, suffix: str = "") -> Index:
    """Image files of a folder and its sub-folders by stem, with the sub-folder in front: ``day_1/case_1``.

    With a ``suffix``, they are those whose stems end in it, by what is before it.
    """
    index: Index = {}
    for path in list_image_files(folder, nested=True):
        stem = name_key(path.relative_to(folder).with_suffix("").as_posix())
        if stem.endswith(suffix):
            index.setdefault(stem.removesuffix(suffix), []).append(path)
    return index


def stem_of_line(line: str, images: Mapping[str, list[Path]]) -> str:
    """The stem a line means: itself, or itself without an extension (``scan.2`` is a stem, ``scan.jpg`` is not).

    Sub-folders may be written with backslashes.
    """
    line = name_key(line)
    line = line if line in images else line.replace("\\", "/")
    is_stem = line in images or Path(line).suffix.lower() not in IMAGE_EXTENSIONS
    return line if is_stem else line[: -len(Path(line).suffix)]


def case_name(case: Mapping[str, str | PathLike[str]]) -> str:
    """Name of a case: ``name``, which those in sub-folders have, or the stem of its image."""
    return str(case.get("name") or Path(case["image"]).stem)


def raise_if_any(dataset_dir: str | PathLike[str], problems: Sequence[Finding]) -> None:
    """Raise one DatasetError that lists all of ``problems``, if there are any."""
    if problems:
        lines = "".join(f"\n  - {problem.text}" for problem in problems if problem.kind != MASK_SUFFIX)
        suffix = next((problem.text for problem in problems if problem.kind == MASK_SUFFIX), "")
        raise DatasetError(
            f"the data set {fspath(dataset_dir)} has {len(problems)} problem(s); "
            f"{suffix or 'fix them or take the cases off the lists'}{':' * bool(lines)}{lines}"
        )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_EXTENSIONS and (path.is_file() or is_dangling(path))


def _visible(folder: Path, nested: bool = False, above: tuple[Path, ...] = ()) -> list[Path]:
    """What is in a folder, or ``nested``, the files below it; a link to a folder above itself is left out."""
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not nested:
        return found
    above = (*above, folder.resolve())
    files: list[Path] = []
    for path in found:
        if not path.is_dir():
            files.append(path)
        elif path.resolve() not in above:
            files += _visible(path, nested, above)
    return files


def _pair_problems(stem: str, found: Mapping[str, list[Path]], folders: Mapping[str, Index]) -> list[str]:
    wrong = []
    for key, paths in found.items():
        name, index = "images" if key == "image" else "masks", folders[key]
        if not paths and stem.startswith("images/") and stem.removeprefix("images/") in folders["image"]:
            return ["a line is a name in images/, without images/ in front"]
        if not paths:
            alike = sorted(other for other in index if other.startswith(stem) or other.endswith(f"/{stem}"))
            files = [path.relative_to(path.parents[other.count("/")]) for other in alike for path in index[other]]
            some_files = ", ".join(map(str, files[:3]))
            wrong.append(f"{name}/ has no such file" + (f", but it has {some_files}" if files else ""))
        elif len(paths) > 1:
            wrong.append(f"{name}/ has {' and '.join(path.name for path in paths)}; keep one of them")
    return wrong


def _overlaps(stems: Mapping[str, Sequence[str]], splits: Sequence[str]) -> list[Finding]:
    """Cases that are in two lists of which one at least is in use."""
    names = list(stems)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if a in splits or b in splits]
    return [
        Finding("overlap", f"{stem}: is in both {a}.txt and {b}.txt; remove it from one of them")
        for a, b in pairs
        for stem in sorted(set(stems[a]) & set(stems[b]))
    ]


def different_sizes(image_file: str, image_size: Any, label_file: str, label_size: Any) -> str:
    """Say that an image and its mask differ in size, (H, W)."""
    return (
        f"{image_file} is {image_size[1]}x{image_size[0]} pixels (after EXIF rotation), its mask {label_file} "
        f"{label_size[1]}x{label_size[0]}"
    )

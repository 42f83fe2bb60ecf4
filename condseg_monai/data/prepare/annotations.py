"""Masks of annotations: labelme's files and COCO's, into ``images/`` and ``masks/``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from condseg_monai.data.images.image_reader import read_natural_image
from condseg_monai.data.lists.pairing import DatasetError, list_image_files, some
from condseg_monai.data.prepare.new_folder import RECORD, built_beside, check_folders
from condseg_monai.utils.files import write_json
from condseg_monai.version import __version__

__all__ = ["ANNOTATION_FORMATS", "prepare_annotations"]


class _Annotated(NamedTuple):
    """An image, the file that annotates it, and its regions: name of the class and mask, in their order."""

    image: Path
    file: Path
    regions: list[tuple[str, np.ndarray]]


def prepare_annotations(
    kind: str,
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
    allow_empty: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Copy annotated images to ``destination/images`` and draw their masks into ``destination/masks``, as PNG.

    Without ``class_names`` every region is lesion: masks of 0 and 255. With them, background first, a pixel is the
    number of its class; regions that come later cover earlier ones, and a region of another name is an error.

    Args:
        kind: ``"labelme"``: a JSON file per image beside it, with polygons, rectangles and circles; ``"coco"``: JSON
            files of annotated images, polygons or run lengths, with the extra ``coco``.
        source: a folder with these files at any depth.
        destination: a new folder, see :func:`~condseg_monai.data.prepare.images.prepare_dataset`.
        class_names: names of the regions that count.
        allow_empty: whether images without a region get an empty mask; otherwise they are an error.
        overwrite: replace a folder that this function made.

    Returns:
        What ``dataset.json`` in ``destination`` says: images, masks without a region, regions by name, and images
        ``left_out`` because no file annotates them.

    Raises:
        DatasetError: listing every file or annotation that cannot be used.
        ImportError: if ``kind`` is ``"coco"`` and pycocotools is missing; the message names the extra.
    """
    if kind not in ANNOTATION_FORMATS:
        raise ValueError(f"kind must be one of {', '.join(ANNOTATION_FORMATS)}, got {kind!r}")
    root, target = Path(source), Path(destination)
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder")
    check_folders(root, target, overwrite)
    problems: list[str] = []
    counts: dict[str, int] = {}
    names: dict[str, Path] = {}
    empty = 0
    with built_beside(target) as folder:
        for name in ("images", "masks"):
            (folder / name).mkdir()
        for found in ANNOTATION_FORMATS[kind](root, problems):
            if found.image.stem in names:
                problems.append(f"{found.image} and {names[found.image.stem]} have the same name; rename one of them")
                continue
            names[found.image.stem] = found.image
            try:
                mask = _mask(found, class_names)
            except ValueError as error:
                problems.append(str(error))
                continue
            if not found.regions:
                empty += 1
                if not allow_empty:
                    problems.append(
                        f"{found.file}: {found.image.name} has no region; --allow_empty makes an empty mask"
                    )
            for label, _ in found.regions:
                counts[label] = counts.get(label, 0) + 1
            shutil.copyfile(found.image, folder / "images" / found.image.name)
            Image.fromarray(mask).save(folder / "masks" / f"{found.image.stem}.png")
        if not names and not problems:
            problems.append(f"{root} has no annotation of {kind}: no JSON file of it at any depth")
        if problems:
            lines = "\n".join(f"  - {problem}" for problem in problems)
            raise DatasetError(f"{len(problems)} problem(s) in {root}:\n{lines}")
        annotated = {path.resolve() for path in names.values()}
        record = {
            "title": f"{kind} annotations of {root.resolve()}",
            "made_by": f"condseg_monai {__version__} prepare",
            "source": str(root.resolve()),
            "images": len(names),
            "empty_masks": empty,
            "regions": counts,
            "left_out": [str(p) for p in list_image_files(root, nested=True) if p.resolve() not in annotated],
            "class_names": None if class_names is None else list(class_names),
        }
        write_json(folder / RECORD, record)
    return record


def _mask(found: _Annotated, class_names: Sequence[str] | None) -> np.ndarray:
    height, width = read_natural_image(found.image).shape[:2]
    mask = np.zeros((height, width), np.uint8)
    for label, region in found.regions:
        if class_names is not None and label not in class_names[1:]:
            raise ValueError(
                f"{found.file}: a region of {found.image.name} is called {label!r}, and class_names are "
                f"{', '.join(class_names)}; add it or remove the region"
            )
        if region.shape != mask.shape:
            raise ValueError(
                f"{found.file}: {found.image.name} is {height} x {width} pixels, its annotation {region.shape[0]} x "
                f"{region.shape[1]}"
            )
        mask[region] = 255 if class_names is None else class_names.index(label)
    return mask


def _labelme(root: Path, problems: list[str]) -> Iterator[_Annotated]:
    for file, content in _json_files(root, problems):
        if "shapes" not in content or "imagePath" not in content:
            continue
        image = file.parent / str(content["imagePath"]).replace("\\", "/")
        if not image.is_file():
            problems.append(f"{file}: its image {image} does not exist")
            continue
        try:
            size = int(content["imageHeight"]), int(content["imageWidth"])
            _check_size(size)
            regions = [(str(shape["label"]), _labelme_region(shape, size)) for shape in content["shapes"]]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            problems.append(f"{file}: a shape cannot be drawn: {error}")
            continue
        yield _Annotated(image, file, regions)


def _labelme_region(shape: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    canvas = Image.new("1", size[::-1])
    draw, points = ImageDraw.Draw(canvas), [(float(x), float(y)) for x, y in shape["points"]]
    _check_points(points, size)
    kind = shape.get("shape_type", "polygon")
    if kind == "polygon" and len(points) > 2:
        draw.polygon(points, fill=1, outline=1)
    elif kind == "rectangle" and len(points) == 2:
        (x0, x1), (y0, y1) = (sorted(axis) for axis in zip(*points, strict=True))
        draw.rectangle((x0, y0, x1, y1), fill=1)
    elif kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = float(np.hypot(edge[0] - x, edge[1] - y))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    else:
        raise ValueError(f"a {kind} of {len(points)} points; polygons, rectangles and circles can be")
    return np.asarray(canvas)


def _coco(root: Path, problems: list[str]) -> Iterator[_Annotated]:
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise ImportError('COCO annotations need the extra coco: pip install "condseg_monai[coco]"') from error
    images = {path.name: path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix != ".json"}
    for file, content in _json_files(root, problems):
        if not {"images", "annotations", "categories"} <= content.keys():
            continue
        try:
            categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
            by_image: dict[Any, list[dict[str, Any]]] = {}
            for entry in content["annotations"]:
                by_image.setdefault(entry["image_id"], []).append(entry)
            listed = [(str(e["file_name"]), e["id"], (int(e["height"]), int(e["width"]))) for e in content["images"]]
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"{file} is no COCO file: {error!r} is missing or of another kind")
            continue
        if unknown := by_image.keys() - {number for _, number, _ in listed}:
            problems.append(
                f"{file}: annotations of images that it does not list, image_id {some(sorted(map(str, unknown)))}"
            )
        for name, number, size in listed:
            image = file.parent / name if (file.parent / name).is_file() else images.get(Path(name).name)
            if image is None:
                problems.append(f"{file}: its image {name} is not in {root}")
                continue
            regions, wrong = [], False
            for entry in by_image.get(number, []):
                try:
                    regions.append((categories[entry["category_id"]], _coco_region(coco_mask, entry, size)))
                except Exception as error:  # pycocotools raises a dozen kinds
                    problems.append(f"{file}: annotation {entry.get('id')} of {name} cannot be drawn: {error!r}")
                    wrong = True
            if not wrong:
                yield _Annotated(image, file, regions)


def _coco_region(coco_mask: Any, entry: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    _check_size(size)
    segmentation = entry["segmentation"]
    if isinstance(segmentation, list):
        for polygon in segmentation:
            _check_points(np.reshape(np.asarray(polygon, dtype=float), (-1, 2)), size)
            if len(polygon) < 6:
                raise ValueError(f"a polygon of {len(polygon) // 2} points")
        return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))).astype(bool)
    if list(segmentation["size"]) != list(size):
        raise ValueError(f"its run lengths are of {segmentation['size']} pixels, its image of {list(size)}")
    counts = segmentation["counts"]
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    if min(runs, default=0) < 0 or sum(runs) != size[0] * size[1]:
        raise ValueError(f"its run lengths are of {sum(runs)} pixels, its image of {list(size)}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size, order="F")


def _unpacked(counts: str) -> list[int]:
    """Run lengths from COCO's packed ones, of which pycocotools reads beyond the end if they are cut short."""
    runs: list[int] = []
    value = shift = 0
    for code in (ord(character) - 48 for character in counts):
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:  # the last of this number; from the fourth on, the difference to the one before the last
            value -= (code & 16) // 16 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def _check_size(size: tuple[int, int]) -> None:
    """Refuse a picture of (H, W) pixels that would not be read, before its regions fill the memory."""
    limit = Image.MAX_IMAGE_PIXELS
    if min(size) < 1 or (limit is not None and size[0] * size[1] > limit):
        raise ValueError(f"its image has {size[0]} x {size[1]} pixels, not from 1 to {limit}")


def _check_points(points: Any, size: tuple[int, int]) -> None:
    """Refuse points that are no numbers, or further from the picture than it is large."""
    largest = max(size)
    if len(points) and not (np.abs(np.asarray(points) - largest / 2) <= 1.5 * largest).all():
        raise ValueError(f"points that are no numbers, or far outside of {size[0]} x {size[1]} pixels")


def _json_files(root: Path, problems: list[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in sorted(root.rglob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"{file} cannot be read as JSON: {error}")
            continue
        if isinstance(content, dict):
            yield file, content


ANNOTATION_FORMATS: dict[str, Callable[[Path, list[str]], Iterator[_Annotated]]] = {"labelme": _labelme, "coco": _coco}
"""What annotations are read of."""

"""What an inference run has to do, has done already, and could not do."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from torch import nn

from condseg_monai.data.images.image_reader import IMAGE_EXTENSIONS, UnreadableImageError, read_natural_image
from condseg_monai.data.lists.image_list import list_images, list_other_files
from condseg_monai.data.lists.pairing import Case, DatasetError, name_key, some
from condseg_monai.inference.required_checkpoint import describe_weights, refuse_other_weights, require_checkpoint
from condseg_monai.utils.files import write_json

__all__ = ["InferenceCases", "InferenceError"]

_FORMATS = ("none", "png", "npy")


class InferenceError(RuntimeError):
    """An inference run that cannot start, or that ended without a mask for every image; the message says which."""


class _Sorted(NamedTuple):
    todo: list[Case]
    kept: list[Case]
    failed: dict[str, str]
    obstacle: str | None


class InferenceCases:
    """Sort the images of an inference run, so that one bad file does not cost the others and nothing is done twice.

    Masks go to ``{output_dir}/{stem}.png``; what else is asked for goes to the folders ``probability/``,
    ``uncertainty/`` and ``overlay/`` in it. Images whose outputs all exist are kept as they are, unless
    ``inference.json`` there names other weights. The others are decoded once before the run; those that cannot be are
    left out of it and reported at its end. Files are first looked at when :attr:`todo` is read.

    Args:
        source: folder, list or image, see :func:`~condseg_monai.data.list_images`.
        output_dir: folder of the outputs.
        save_probability: ``"none"``, ``"png"`` or ``"npy"``.
        save_uncertainty: likewise.
        save_overlay: whether overlays are asked for.
        overwrite: make existing outputs again.

    Raises:
        ValueError: if ``save_probability`` or ``save_uncertainty`` is none of the three.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        output_dir: str | os.PathLike[str],
        save_probability: str = "none",
        save_uncertainty: str = "none",
        save_overlay: bool = False,
        overwrite: bool = False,
    ) -> None:
        for name, value in (("save_probability", save_probability), ("save_uncertainty", save_uncertainty)):
            if value not in _FORMATS:
                raise ValueError(f"{name} must be one of {', '.join(_FORMATS)}, got {value!r}")
        self.source = source
        self.output_dir = Path(output_dir)
        self._weights: dict[str, str] = {}
        self.overwrite = overwrite
        self.outputs = [(self.output_dir, ".png")]
        for folder, kind in (("probability", save_probability), ("uncertainty", save_uncertainty)):
            self.outputs += [(self.output_dir / folder, f".{kind}")] if kind != "none" else []
        self.outputs += [(self.output_dir / "overlay", ".png")] if save_overlay else []

    @property
    def todo(self) -> list[Case]:
        """One ``{"image": path}`` for each image the network has to see."""
        return self._sorted.todo

    def start(self, checkpoint: str | os.PathLike[str], network: nn.Module | None = None) -> None:
        """Stop before any work if the run cannot succeed, and say what it will do.

        Args:
            checkpoint: the weights the run needs.
            network: what they will be loaded into; None does not look whether they fit.

        Raises:
            InferenceError: if ``checkpoint`` is missing, damaged or of another network, there is no image, two images
                would write the same mask, the masks would go among the images or the masks of a data set, or existing
                ones are of another checkpoint.
        """
        remedy = (
            "train it with train_stage1.json and train_stage2.json, convert a released one with "
            "python -m condseg_monai convert-checkpoint, or set ckpt_dir to the folder that has model.pt"
        )
        require_checkpoint(checkpoint, network, remedy, InferenceError)
        todo, kept, failed, obstacle = self._sorted
        if obstacle is not None:
            raise InferenceError(obstacle)
        self._weights = describe_weights(checkpoint)
        if kept:
            refuse_other_weights(self._summary, self._weights, InferenceError)
        others = list_other_files(self.source)
        if others:
            logging.getLogger(__name__).warning(
                f"{len(others)} file(s) of {self.source} left out, for want of an extension of "
                f"{', '.join(IMAGE_EXTENSIONS)}: {some(others)}"
            )
        logging.getLogger(__name__).info(
            f"{len(todo)} images to segment, {kept_words(len(kept))}, {len(failed)} unreadable; "
            f"masks go to {self.output_dir}"
        )

    def finish(self, failed_writes: Mapping[str, str] | None = None) -> None:
        """Write ``inference.json`` to the output folder and say what came of each image.

        The file lists the images that were ``segmented`` in this run, those ``kept`` from an earlier one, and why
        others ``failed``, and names the ``checkpoint`` with its SHA-256.

        Args:
            failed_writes: outputs that could not be written, and why: what :meth:`WriteQueue.finish` returns.

        Raises:
            InferenceError: listing the images without a mask, if there are any; all others have theirs.
        """
        todo, kept, failed, _ = self._sorted
        reasons = {str(Path(path)): reason for path, reason in (failed_writes or {}).items()}
        missing = {}
        for case in todo:
            why = next((reasons[str(path)] for path in self._outputs_of(case) if str(path) in reasons), None)
            if why is not None or not self._is_done(case):
                missing[case["image"]] = why or "no output was written"
        number = len(todo) + len(kept) + len(failed)
        failed = {**failed, **missing}
        done = [case["image"] for case in todo if case["image"] not in missing]
        content = {
            "segmented": done,
            "kept": [case["image"] for case in kept],
            "failed": failed,
            **self._weights,
        }
        write_json(self._summary, content)
        logging.getLogger(__name__).info(
            f"{len(done)} images segmented, {kept_words(len(kept))}, {len(failed)} failed; see {self._summary}"
        )
        if failed:
            lines = "\n".join(f"  - {path}: {reason}" for path, reason in failed.items())
            raise InferenceError(f"{len(failed)} of {number} images have no mask:\n{lines}")

    @property
    def _summary(self) -> Path:
        return self.output_dir / "inference.json"

    @cached_property
    def _sorted(self) -> _Sorted:
        try:
            cases = list_images(self.source)
        except DatasetError as error:
            return _Sorted([], [], {}, str(error))
        obstacle = self._obstacle(cases)
        if obstacle is not None:
            return _Sorted([], [], {}, obstacle)
        kept = [] if self.overwrite else [case for case in cases if self._is_done(case)]
        kept_paths = {case["image"] for case in kept}
        rest = [case for case in cases if case["image"] not in kept_paths]
        with ThreadPoolExecutor(max_workers=(os.cpu_count() or 1) + 2) as pool:
            reasons = dict(zip((case["image"] for case in rest), pool.map(_why_unreadable, rest), strict=True))
        failed = {path: reason for path, reason in reasons.items() if reason is not None}
        return _Sorted([case for case in rest if case["image"] not in failed], kept, failed, None)

    def _obstacle(self, cases: Sequence[Case]) -> str | None:
        """What makes the whole run senseless: outputs in each other's place, or in that of the images."""
        by_stem: dict[str, list[str]] = defaultdict(list)
        for case in cases:
            by_stem[name_key(Path(case["image"]).stem)].append(case["image"])
        clashes = [" and ".join(paths) for paths in by_stem.values() if len(paths) > 1]
        if clashes:
            lines = "\n".join(f"  - {clash}" for clash in clashes)
            return f"images of one stem would write the same mask; rename them or give them different folders:\n{lines}"
        folders = {Path(case["image"]).resolve().parent for case in cases}
        forbidden = folders | {folder.parent / "masks" for folder in folders if folder.name == "images"}
        if self.output_dir.resolve() in forbidden:
            return f"output_dir {self.output_dir} holds the images or their labels; give a folder of its own"
        return None

    def _is_done(self, case: Case) -> bool:
        return all(path.is_file() for path in self._outputs_of(case))

    def _outputs_of(self, case: Case) -> list[Path]:
        stem = Path(case["image"]).stem
        return [folder / f"{stem}{extension}" for folder, extension in self.outputs]


def kept_words(number: int) -> str:
    """Say how many outputs are not of this run, and what would make them again."""
    return f"{number} kept from earlier runs" + (" (--overwrite true makes them again)" if number else "")


def _why_unreadable(case: Case) -> str | None:
    try:
        read_natural_image(case["image"])
    except UnreadableImageError as error:
        return str(error)
    return None

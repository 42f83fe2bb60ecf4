"""A run over many CT volumes: one bad volume does not cost the others, and nothing is done twice."""

from __future__ import annotations

import json
import logging
import os
import pickle
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from condseg_monai.data.ct.volume import axial_slices, check_hounsfield
from condseg_monai.data.ct.volume_list import VolumeFile, list_volumes, read_volume
from condseg_monai.data.lists.pairing import DatasetError
from condseg_monai.inference.acceleration import faster_copy
from condseg_monai.inference.cases import InferenceError, kept_words
from condseg_monai.inference.dicom_segmentation import write_dicom_seg
from condseg_monai.inference.required_checkpoint import describe_weights, refuse_other_weights
from condseg_monai.inference.volume_files import SCORE_FORMATS, score_volume_writer, write_label_volume
from condseg_monai.inference.volume_inferer import VolumeInferer, keep_largest_components
from condseg_monai.networks.class_names import class_names_of, set_class_names
from condseg_monai.utils.files import write_json

__all__ = ["VolumeInference"]


class VolumeInference:
    """Segment volumes into ``{output_dir}/{name}.nii.gz``.

    What else is asked for goes to ``probability/``, ``uncertainty/`` and ``dicom_seg/`` in ``output_dir``. Volumes
    whose outputs all exist are kept as they are. ``inference.json`` there says what came of each volume, what the
    labels' numbers mean, and which checkpoint they are of. Nothing is read before :attr:`todo` or :meth:`run`.

    Args:
        source: file, folder, list or DICOM series, see :func:`~condseg_monai.data.list_volumes`.
        output_dir: folder of the outputs.
        network: as :class:`VolumeInferer` takes it, on its device.
        inferer: how a volume is segmented.
        checkpoint: the network's weights.
        class_names: what the network's classes are called, background first, if the checkpoint does not tell.
        keep_largest: keep of each organ its largest component; see :func:`keep_largest_components`.
        save_probability: ``"none"``, ``"nii"`` or ``"nii.gz"``: a volume with an axis of classes.
        save_uncertainty: likewise, of the uncertainty region.
        save_dicom_seg: write labels of DICOM series as DICOM SEG, too.
        check_values: refuse volumes whose values are not Hounsfield units.
        channels_last: as for :class:`~condseg_monai.FastInference`.
        compile: likewise; the last, smaller batch of each volume is compiled too.
        overwrite: make existing outputs again.
        progress_bar: show the slices of each volume.

    Raises:
        ValueError: if an argument is none of its values.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        output_dir: str | os.PathLike[str],
        network: nn.Module,
        inferer: VolumeInferer,
        checkpoint: str | os.PathLike[str],
        class_names: Sequence[str] | None = None,
        keep_largest: bool = False,
        save_probability: str = "none",
        save_uncertainty: str = "none",
        save_dicom_seg: bool = False,
        check_values: bool = True,
        channels_last: bool = False,
        compile: bool = False,
        overwrite: bool = False,
        progress_bar: bool = True,
    ) -> None:
        for name, value in (("save_probability", save_probability), ("save_uncertainty", save_uncertainty)):
            if value not in SCORE_FORMATS:
                raise ValueError(f"{name} must be one of {', '.join(SCORE_FORMATS)}, got {value!r}")
        self.source = source
        self.output_dir = Path(output_dir)
        self.network = network
        self.inferer = inferer
        self.checkpoint = Path(checkpoint)
        self.class_names = None if class_names is None else tuple(map(str, class_names))
        self.keep_largest = keep_largest
        self.check_values = check_values
        self.channels_last = channels_last
        self.compile = compile
        self.overwrite = overwrite
        self.progress_bar = progress_bar
        self.outputs = {"label": (self.output_dir, ".nii.gz")}
        for kind, extension in (("probability", save_probability), ("uncertainty", save_uncertainty)):
            if extension != "none":
                self.outputs[kind] = (self.output_dir / kind, f".{extension}")
        if save_dicom_seg:
            self.outputs["dicom_seg"] = (self.output_dir / "dicom_seg", ".dcm")

    @property
    def todo(self) -> list[dict[str, str]]:
        """One ``{"image": path}`` for each volume that has to be segmented; none if the source is unusable."""
        try:
            return [{"image": str(volume.path)} for volume in self._volumes if not self._is_done(volume)]
        except DatasetError:
            return []

    def run(self) -> None:
        """Segment what is to be segmented.

        Raises:
            InferenceError: before any work, if the checkpoint is missing or does not fit, there is no volume, outputs
                would be among the inputs or beside labels of other classes or weights; and at the end, listing the
                volumes without a label, if there are any: all others have theirs.
        """
        try:
            volumes = self._volumes
        except DatasetError as error:
            raise InferenceError(str(error)) from error
        self._load_checkpoint()
        weights = describe_weights(self.checkpoint)
        self._check_outputs(volumes, weights)
        kept = [volume for volume in volumes if self._is_done(volume)]
        todo = [volume for volume in volumes if volume not in kept]
        logger = logging.getLogger(__name__)
        logger.info(f"{len(todo)} volumes to segment, {kept_words(len(kept))}; labels go to {self.output_dir}")
        network = faster_copy(self.network, self.channels_last, self.compile) if todo else self.network
        done, failed = [], {}
        for volume in todo:
            try:
                self._segment(volume, network)
            except (ImportError, MemoryError, OSError, RuntimeError, ValueError) as error:
                failed[str(volume.path)] = str(error) or type(error).__name__
                logger.error(f"{volume.path} was not segmented: {failed[str(volume.path)]}")
            else:
                done.append(volume)
        content = {
            "segmented": [str(volume.path) for volume in done],
            "kept": [str(volume.path) for volume in kept],
            "failed": failed,
            "class_names": self.class_names,
            **weights,
            "precision": self.inferer.precision,
            "resizing": self.inferer.resizing,
            "keep_largest": self.keep_largest,
        }
        write_json(self._summary, content)
        logger.info(
            f"{len(done)} volumes segmented, {kept_words(len(kept))}, {len(failed)} failed; see {self._summary}"
        )
        if failed:
            lines = "\n".join(f"  - {path}: {reason}" for path, reason in failed.items())
            raise InferenceError(f"{len(failed)} of {len(volumes)} volumes have no label:\n{lines}")

    @property
    def _summary(self) -> Path:
        return self.output_dir / "inference.json"

    @cached_property
    def _volumes(self) -> list[VolumeFile]:
        return list_volumes(self.source)

    def _is_done(self, volume: VolumeFile) -> bool:
        return not self.overwrite and all(self._output(kind, volume).is_file() for kind in self.outputs)

    def _output(self, kind: str, volume: VolumeFile) -> Path:
        folder, extension = self.outputs[kind]
        return folder / f"{volume.name}{extension}"

    def _load_checkpoint(self) -> None:
        if not self.checkpoint.is_file():
            raise InferenceError(
                f"{self.checkpoint} is missing: train it with train_stage1.json and train_stage2.json, each followed "
                "by synapse.json, or set ckpt_dir to the folder that has model.pt"
            )
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            names = class_names_of(state)
            if names is not None:
                set_class_names(self.network, names)
            self.network.load_state_dict(state)
        except (AttributeError, EOFError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError) as error:
            raise InferenceError(
                f"{self.checkpoint} does not fit the network; encoder, decoder_channels, cdfa and the number of "
                f"class_names must be those it was trained with: {error}"
            ) from error
        self.network.to(self.inferer.device)
        self.class_names = names or self.class_names

    def _check_outputs(self, volumes: Sequence[VolumeFile], weights: Mapping[str, str]) -> None:
        folders = {volume.path.resolve().parent for volume in volumes} | {volume.path.resolve() for volume in volumes}
        if self.output_dir.resolve() in folders:
            raise InferenceError(f"output_dir {self.output_dir} holds the volumes; give a folder of its own")
        if "dicom_seg" in self.outputs:
            others = [str(volume.path) for volume in volumes if volume.path.is_file()]
            if others:
                raise InferenceError(
                    f"save_dicom_seg needs DICOM series, and {', '.join(others[:3])} is none; leave it off"
                )
            if self.class_names is None:
                raise InferenceError("save_dicom_seg needs class_names: the checkpoint does not tell them")
        if not any(map(self._is_done, volumes)):
            return
        try:
            earlier = json.loads(self._summary.read_text(encoding="utf-8")).get("class_names")
        except (AttributeError, OSError, ValueError):
            return
        if earlier and tuple(earlier) != self.class_names:
            raise InferenceError(
                f"{self.output_dir} has labels of other classes ({', '.join(earlier)}); give another output_dir, or "
                "make them again with --overwrite true"
            )
        refuse_other_weights(self._summary, weights, InferenceError)

    def _segment(self, file: VolumeFile, network: nn.Module) -> None:
        volume = read_volume(file.path)
        if self.check_values:
            check_hounsfield(volume)
        number = len(axial_slices(volume.array, volume.affine))
        with ExitStack() as stack:
            bar = stack.enter_context(tqdm(total=number, desc=file.name, unit="slice", disable=not self.progress_bar))
            sinks: dict[str, Any] = {}
            if "probability" in self.outputs:
                writer = score_volume_writer(self._output("probability", file), volume)
                sinks["on_probability"] = stack.enter_context(writer)
            if "uncertainty" in self.outputs:
                writer = score_volume_writer(self._output("uncertainty", file), volume)
                sinks["on_uncertainty"] = stack.enter_context(writer)
            labels = self.inferer(volume, network, on_progress=bar.update, **sinks)
        if self.keep_largest:
            keep_largest_components(labels)
        if "dicom_seg" in self.outputs:
            assert self.class_names is not None
            write_dicom_seg(self._output("dicom_seg", file), labels, volume, self.class_names)
        write_label_volume(self._output("label", file), labels, volume)

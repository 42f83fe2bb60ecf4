"""Inference on CT volumes, slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from condseg_monai.data.ct.volume import axial_slices, check_hounsfield
from condseg_monai.data.ct.volume_list import read_volume
from condseg_monai.data.lists.pairing import Case, Finding
from condseg_monai.inference.cases import Cases, RunError
from condseg_monai.inference.dicom_segmentation import write_dicom_seg
from condseg_monai.inference.volume_files import score_volume_writer, write_label_volume
from condseg_monai.inference.volume_inferer import VolumeInferer, keep_largest_components

__all__ = ["VolumeInference"]


class VolumeInference:
    """Evaluator that segments CT volumes, the cases of :func:`~condseg_monai.volume_cases`.

    The network moves to the inferer's device and is compiled if ``compile``. ``class_names``, background first, count
    if the checkpoint has none. ``keep_largest`` keeps of each organ its largest component; ``check_values`` refuses
    volumes whose values are not Hounsfield units.
    """

    def __init__(
        self,
        cases: Cases,
        network: nn.Module,
        inferer: VolumeInferer,
        class_names: Sequence[str] | None = None,
        keep_largest: bool = False,
        check_values: bool = True,
        compile: bool = False,
        progress_bar: bool = True,
    ) -> None:
        self.cases, self.network, self.inferer = cases, network, inferer
        self.class_names = None if class_names is None else tuple(map(str, class_names))
        self.keep_largest, self.check_values = keep_largest, check_values
        self.compile, self.progress_bar = compile, progress_bar

    @contextmanager
    def started(self) -> Iterator[None]:
        """Start the cases, and finish them when the block ends, by :meth:`Cases.started`."""
        checkpoint = self.cases.checkpoint
        checkpoint.load()
        self.class_names = checkpoint.class_names or self.class_names
        if "dicom_seg" in self.cases.outputs and self.class_names is None:
            raise RunError("--save_dicom_seg needs --class_names: the checkpoint does not tell them")
        with self.cases.started(class_names=self.class_names):
            yield

    def run(self) -> None:
        """Segment the volumes; a RunError before any work as :meth:`Cases.start`, or at the end listing failures."""
        cases = self.cases
        with self.started():
            self.network.to(self.inferer.device)
            network: Any = torch.compile(self.network) if self.compile else self.network
            for case in cases.todo:
                try:
                    self._segment(case, network)
                except Exception as error:
                    words = str(error) if isinstance(error, (OSError, ValueError)) else repr(error)
                    cases.fail(Finding("volume", words or repr(error), (case["image"],)))

    def _segment(self, case: Case, network: nn.Module) -> None:
        cases = self.cases
        volume = read_volume(case["image"])
        if self.check_values:
            check_hounsfield(volume)
        number = len(axial_slices(volume.array, volume.affine))
        with ExitStack() as stack:
            progress = tqdm(total=number, desc=case["name"], unit="slice", disable=None if self.progress_bar else True)
            bar = stack.enter_context(progress)
            sinks: dict[str, Any] = {
                f"on_{kind}": stack.enter_context(score_volume_writer(cases.path(kind, case), volume))
                for kind in ("probability", "uncertainty")
                if cases.wants(kind, case)
            }
            labels = self.inferer(volume, network, on_progress=bar.update, **sinks)
        if self.keep_largest:
            keep_largest_components(labels)
        if cases.wants("label", case):
            write_label_volume(cases.path("label", case), labels, volume)
        if cases.wants("dicom_seg", case):  # after the label, which a header that DICOM refuses must not cost
            assert self.class_names is not None
            write_dicom_seg(cases.path("dicom_seg", case), labels, volume, self.class_names)

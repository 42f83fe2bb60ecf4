"""Config files of the bundle that train, evaluate and apply each method."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CT", "METHODS", "Files", "training_files"]


class Files(NamedTuple):
    """The config files of each step of a method, by name, in the order in which they are read."""

    train: tuple[str, ...]
    predict: tuple[str, ...]
    stage1: tuple[str, ...] = ()
    """Empty for a method of one stage."""

    @property
    def evaluate(self) -> tuple[str, ...]:
        """The files that score images."""
        return (*self.train, "evaluate")

    def with_overlay(self, overlay: str) -> Files:
        """The same with another file behind those of the trainings."""
        return self._replace(train=(*self.train, overlay), stage1=(*self.stage1, overlay) if self.stage1 else ())


METHODS = {
    "condseg": Files(("train_stage2",), ("inference",), ("train_stage1",)),
    "condseg_without_cr": Files(("train_stage2",), ("inference",), ("train_stage1", "without_cr")),
    "dec_seg": Files(("train_dec_seg",), ("inference",)),
    "med_disseg": Files(("train_stage2", "med_disseg"), ("inference",), ("train_stage1", "med_disseg")),
    "condseg_student": Files(("train_dec_seg", "semi_supervised_condseg"), ("inference",)),
    "flexible_unet": Files(("train_stage2", "flexible_unet"), ("inference",)),
    "unet": Files(("train_stage2", "unet"), ("inference",)),
}
"""What can be trained on images."""

CT = Files(("train_stage2", "synapse"), ("inference_synapse",), ("train_stage1", "synapse"))
"""ConDSeg on CT; whole volumes are scored, after prediction."""


def training_files(method: str, is_ct: bool = False) -> tuple[str, ...]:
    """Return the config files that train a network, by the method of its model card: ``X_stage1`` is X's stage 1."""
    files = METHODS[method.removesuffix("_stage1")]
    if is_ct:
        files = files.with_overlay("synapse")
    return files.stage1 if method.endswith("_stage1") else files.train

"""Config files of the bundle that train, evaluate and apply each method."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CT", "INFERENCE", "METHODS", "Files", "training_files"]

INFERENCE = {"image": "inference", "ct": "inference_synapse"}
"""The config that applies a model, by the kind of input that its model card says."""


class Files(NamedTuple):
    """The config files of each step of a method, by name, in the order in which they are read."""

    train: tuple[str, ...]
    stage1: tuple[str, ...] = ()
    """Empty for a method of one stage."""
    predict: tuple[str, ...] = (INFERENCE["image"],)

    @property
    def evaluate(self) -> tuple[str, ...]:
        """The files that score images."""
        return (*self.train, "evaluate")

    def with_overlay(self, overlay: str) -> Files:
        """The same with another file behind those of the trainings."""
        return self._replace(train=(*self.train, overlay), stage1=(*self.stage1, overlay) if self.stage1 else ())


METHODS = {
    "condseg": Files(("train_stage2",), ("train_stage1",)),
    "condseg_without_cr": Files(("train_stage2",), ("train_stage1", "without_cr")),
    "condseg_baseline": Files(("train_stage2", "condseg_baseline"), ("train_stage1",)),
    "dec_seg": Files(("train_dec_seg",)),
    "med_disseg": Files(("train_stage2", "med_disseg"), ("train_stage1", "med_disseg")),
    "condseg_student": Files(("train_dec_seg", "semi_supervised_condseg")),
    "flexible_unet": Files(("train_stage2", "flexible_unet")),
    "unet": Files(("train_stage2", "unet")),
    "unet_plus_plus": Files(("train_stage2", "unet_plus_plus")),
    "attention_unet": Files(("train_stage2", "attention_unet")),
}
"""What can be trained on images."""

CT = Files(("train_stage2", "synapse"), ("train_stage1", "synapse"), (INFERENCE["ct"],))
"""ConDSeg on CT; whole volumes are scored, after prediction."""


def training_files(method: str, is_ct: bool = False) -> tuple[str, ...]:
    """Return the config files that train a network, by the method of its model card: ``X_stage1`` is X's stage 1."""
    files = METHODS[method.removesuffix("_stage1")]
    if is_ct:
        files = files.with_overlay("synapse")
    return files.stage1 if method.endswith("_stage1") else files.train

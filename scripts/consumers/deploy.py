"""Run a MONAI Deploy application on a packed bundle or its TorchScript: ``deploy.py BUNDLE SOURCE OUT.npy``.

``SOURCE`` is a picture, or a folder with a DICOM series, whose labels are also written as DICOM SEG beside ``OUT.npy``.
"""

import json
import sys
from pathlib import Path

import numpy as np
from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application, Image, IOType, Operator
from monai.deploy.operators import (
    DICOMDataLoaderOperator,
    DICOMSegmentationWriterOperator,
    DICOMSeriesSelectorOperator,
    DICOMSeriesToVolumeOperator,
    MonaiBundleInferenceOperator,
)
from monai.deploy.operators.dicom_seg_writer_operator import SegmentDescription
from monai.deploy.operators.monai_bundle_inference_operator import BundleConfigNames, IOMapping
from PIL import Image as PillowImage
from pydicom.sr.codedict import codes

BUNDLE, SOURCE, OUT = map(Path, sys.argv[1:])


class ReadPicture(Operator):
    """Send a picture, rows first and channels last."""

    def setup(self, spec):
        """Name the output."""
        spec.output("image")

    def compute(self, op_input, op_output, context):
        """Read the file."""
        array = np.asarray(PillowImage.open(SOURCE).convert("RGB"))
        op_output.emit(Image(array, {"original_channel_dim": -1}), "image")


class SaveArray(Operator):
    """Save the mask as it comes."""

    def setup(self, spec):
        """Name the input."""
        spec.input("pred")

    def compute(self, op_input, op_output, context):
        """Write the file."""
        np.save(OUT, op_input.receive("pred").asnumpy())


class Segment(Application):
    """Read, segment, write."""

    def compose(self):
        """Connect the operators."""
        infer = MonaiBundleInferenceOperator(
            self,
            app_context=AppContext({}),
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
            bundle_path=BUNDLE,
            bundle_config_names=BundleConfigNames(config_names=["inference"]),
            name="infer",
        )
        self.add_flow(infer, SaveArray(self, name="save"), {("pred", "pred")})
        once = CountCondition(self, 1)
        if not SOURCE.is_dir():
            self.add_flow(ReadPicture(self, once, name="read"), infer, {("image", "image")})
            return
        load = DICOMDataLoaderOperator(self, once, input_folder=SOURCE, name="load")
        select = DICOMSeriesSelectorOperator(self, rules="", name="select")
        volume = DICOMSeriesToVolumeOperator(self, name="volume")
        metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
        names = list(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values())
        organ = (codes.SCT.Organ, codes.SCT.Liver, "condseg", "1")
        segments = [SegmentDescription(name, *organ) for name in names[1:]]
        write = DICOMSegmentationWriterOperator(
            self, segment_descriptions=segments, output_folder=OUT.parent / "seg", name="write"
        )
        self.add_flow(load, select, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(select, volume, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(volume, infer, {("image", "image")})
        self.add_flow(select, write, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(infer, write, {("pred", "seg_image")})


Segment().run()

"""Write what the programs are tried on: ``prepare.py FOLDER MODEL [SERIES]``.

``picture``, ``scan``, ``semi_supervised`` and ``federated`` are packed bundles, the first of ``MODEL``, the others of
small networks with random weights.
"""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import CTImageStorage, generate_uid

from condseg_monai import make_synthetic_dataset, synapse_class_names
from condseg_monai.inference.packed_bundle import pack_bundle
from tests.bundle.models import save_model
from tests.ct import AFFINE, phantom, turned, write_dicom

folder, (model, *series) = Path(sys.argv[1]).resolve(), sys.argv[2:]
pack_bundle(model, folder / "picture")
organs = synapse_class_names("transunet")  # nine classes
pack_bundle(save_model(folder / "runs" / "scan", kind="ct", class_names=organs, window_hu=(-100, 300)), folder / "scan")
for name, method in (("semi_supervised", "dec_seg"), ("federated", "condseg")):
    pack_bundle(save_model(folder / "runs" / name, method), folder / name, url=(folder / name).as_uri())

(data := folder / "studies").mkdir()
make_synthetic_dataset(folder / "polyps", num_train=4, num_val=2, num_test=2, image_size=112)
image = np.asarray(Image.open(next((folder / "polyps" / "images").glob("test_*"))))
Image.fromarray(image[:80]).save(data / "picture.png")  # 80 rows of 112 columns
for number in (1, 2):
    make_synthetic_dataset(
        folder / "sites" / f"site-{number}", num_train=4, num_val=2, num_test=1, image_size=32, seed=number
    )
array, affine = turned(phantom()[0], AFFINE, "SRP")  # slices first
nib.save(nib.Nifti1Image(array, affine), data / "scan.nii.gz")
if series:
    (folder / "series").mkdir()
    shared = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    for file in sorted(Path(series[0]).iterdir()):
        dataset = pydicom.dcmread(file)
        own = {"SOPInstanceUID": generate_uid(), "SOPClassUID": CTImageStorage, "SeriesNumber": 1, "PatientID": "1"}
        for name, value in (shared | own).items():
            if not dataset.get(name):  # which MONAI Deploy needs, and anonymised series may lack
                setattr(dataset, name, value)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.save_as(folder / "series" / file.name)
else:
    array, affine = turned(phantom()[0], AFFINE, "LPS")  # columns first
    array = array[:, :24]  # 60 bytes of labels a frame: OHIF cannot read a SEG of an odd number in all
    write_dicom(folder / "series", array, affine, PatientName="Phantom^")

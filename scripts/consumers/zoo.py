"""Verify a bundle by the Model Zoo's code, and run its configs as the zoo's unit tests do: ``zoo.py CI BUNDLE DATA``.

``CI`` is the folder ``ci`` of the zoo's repository. A bundle of CT is only used to infer, on the scan ``DATA``.
"""

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from monai.bundle import ConfigWorkflow

ROOT = Path(__file__).resolve().parents[2]
ci, source, data = (Path(name).resolve() for name in sys.argv[1:])
sys.path.insert(0, str(ci))
from verify_bundle import verify  # noqa: E402

spec = importlib.util.spec_from_file_location("zoo_unit_test_utils", ci / "unit_tests" / "utils.py")
zoo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(zoo)

with tempfile.TemporaryDirectory() as folder:
    models = Path(folder) / "models"
    bundle = models / source.name
    shutil.copytree(source, bundle)
    (models / "model_info.json").write_text("{}")  # what the zoo has published
    (bundle / "eval").mkdir()
    shutil.copy(ROOT / "tests" / "bundle" / "data" / "meta_schema_20240725.json", bundle / "eval" / "schema.json")
    for path in (path for path in bundle.rglob("*") if path.stat().st_size > 25e6):
        path.unlink()  # more than the zoo takes: large_files.json says where to get it
    verify(source.name, str(models), "full")
    meta, logging = (str(bundle / "configs" / name) for name in ("metadata.json", "logging.conf"))
    files = {"meta_file": meta, "logging_file": logging, "bundle_root": str(bundle)}
    options = {"dataset_dir": str(data), "device": "cpu", "progress_bar": False}
    train, evaluate, inference, several = (
        str(bundle / "configs" / f"{name}.json") for name in ("train", "evaluate", "inference", "multi_gpu_train")
    )
    jobs = ["inference"]
    if data.is_dir():
        training = options | {"train#trainer#max_epochs": 2, "batch_size": 2, "num_workers": 0, "overwrite": True}
        if json.loads(Path(train).read_text()).get("unlabeled_batch_size") is not None:
            training |= {"unlabeled_batch_size": 1, "labeled_fraction": 0.5}
        jobs = ["train", "evaluate", "inference", "two processes"]
        for config in (train, [train, evaluate]):
            workflow = ConfigWorkflow(workflow_type="train", config_file=config, **files, **training)
            zoo.check_workflow(workflow, check_properties=True)
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # for torchrun
        zoo.export_config_and_run_mgpu_cmd(
            config_file=[train, several],
            meta_file=meta,
            logging_file=logging,
            override_dict={**training, "bundle_root": str(bundle)},
            output_path=str(Path(folder) / "two_processes.json"),
        )
        options |= {"dataset_dir": str(data / "images"), "num_workers": 0}
    workflow = ConfigWorkflow(workflow_type="infer", config_file=inference, **files, **options)
    zoo.check_workflow(workflow, check_properties=True)
print(f"verified; {', '.join(jobs)} run")

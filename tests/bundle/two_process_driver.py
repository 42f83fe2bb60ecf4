"""Train with ``train.json`` and its overlay for several GPUs, several times, in the processes that torchrun started.

``torchrun two_process_driver.py BUNDLE JOBS.json``, with a list of jobs, each a dictionary of options.
"""

import json
import sys
from pathlib import Path

import torch.distributed as dist
from monai.bundle import ConfigWorkflow

configs = Path(sys.argv[1]) / "configs"
for options in json.loads(Path(sys.argv[2]).read_text()):
    files = [str(configs / name) for name in ("train.json", "multi_gpu_train.json")]
    workflow = ConfigWorkflow(files, logging_file=False, workflow_type="train", **options, finalize=[])
    workflow.initialize()
    workflow.run()
    workflow.finalize()
dist.destroy_process_group()

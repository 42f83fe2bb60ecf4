"""Run config files in the processes that torchrun started: ``two_process_inference.py JOBS.json``.

The file has a list of jobs, each a dictionary: ``files`` and ``workflow_type``, and the options.
"""

import json
import sys
from pathlib import Path

import torch.distributed as dist
from monai.bundle import ConfigWorkflow

for job in json.loads(Path(sys.argv[1]).read_text()):
    workflow = ConfigWorkflow(job.pop("files"), logging_file=False, **job, finalize=[])
    workflow.initialize()
    workflow.run()
    workflow.finalize()
dist.barrier()  # as the configs do
dist.destroy_process_group()

"""Train with a config and its overlay for several GPUs, several times, in the processes that torchrun started.

``torchrun two_process_driver.py BUNDLE JOBS.json``, with a list of jobs, each a dictionary of options. With
``losses`` among them, a file's path, the mean of the processes' losses of each iteration is written there.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

configs = Path(sys.argv[1]) / "configs"
for options in json.loads(Path(sys.argv[2]).read_text()):
    path, losses = options.pop("losses", None), []
    files = [str(configs / name) for name in ("train.json", "multi_gpu_train.json")]
    workflow = ConfigWorkflow(files, logging_file=False, workflow_type="train", **options, finalize=[])
    workflow.initialize()

    @workflow.trainer.on(Events.ITERATION_COMPLETED)
    def note(engine, losses=losses):
        loss = torch.as_tensor(float(engine.state.output["loss"]))
        dist.all_reduce(loss)
        losses.append(float(loss) / dist.get_world_size())

    workflow.run()
    workflow.finalize()
    if path is not None and dist.get_rank() == 0:
        Path(path).write_text(json.dumps(losses))
dist.barrier()  # as the configs do
dist.destroy_process_group()

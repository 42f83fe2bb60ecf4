"""The dispersive loss in two processes of a gloo group: ``python dispersive_driver.py FOLDER``.

Each has a batch of its own and the same linear layer, and writes each kind's value and gradient to ``rank{N}.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing

from condseg_monai import DispersiveLoss


def run(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder / 'group'}", rank=rank, world_size=2)

    def features(*shape: int, seed: int) -> torch.Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    weight = features(6, 4, seed=1).requires_grad_()
    batch = features((3, 2)[rank], 4, seed=2 + rank)
    found = {}
    for kind in ("infonce_l2", "infonce_cosine", "hinge", "covariance"):
        loss = DispersiveLoss(kind)(batch @ weight.T)
        (gradient,) = torch.autograd.grad(loss, weight)
        found[kind] = {"loss": loss.item(), "gradient": gradient.tolist()}
    (folder / f"rank{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    # Forked: importing the package takes longer than the run.
    torch.multiprocessing.start_processes(run, (Path(sys.argv[1]),), nprocs=2, start_method="fork")

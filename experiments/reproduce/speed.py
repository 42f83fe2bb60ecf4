"""Table 8: images per second."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

import torch

from benchmarks.measure import interleave
from condseg_monai.networks.methods import METHODS
from experiments.reproduce.trainings import BUDGETS, Plan, Row

__all__ = ["PAPER_IMAGES_PER_SECOND", "measure_speed"]

PAPER_IMAGES_PER_SECOND = 59.6  # on one RTX 4090; batch and precision are not said


def measure_speed(rows: Mapping[str, Row], plan: Plan, repeats: int = 50) -> tuple[list[list[str]], str]:
    """Time the networks of the rows on one image, with random weights, in turn.

    Args:
        rows: what to time.
        plan: with the budget, and ``device`` and ``precision`` among the options that are given.
        repeats: passes of each network.

    Returns:
        The table, and how it was measured. A GPU is waited for before the clock is read.
    """
    given = plan.given
    device = str(given.get("device", "cuda" if torch.cuda.is_available() else "cpu"))
    precision = str(given.get("precision", "float16" if device.startswith("cuda") else "float32"))
    dtype = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[precision]
    size = {**BUDGETS[plan.budget], **given}.get("image_size", 256)
    image = torch.rand(1, 3, size, size, device=device)
    networks = {}
    for name, row in rows.items():
        method = METHODS[row.method]
        options = {**plan.budget_options(row), **row.options, **given}
        arguments = {key: options.get(key, value) for key, value in method.options.items()}
        networks[name] = method.network(**arguments).to(device).eval()
    with torch.inference_mode(), torch.autocast(torch.device(device).type, dtype, enabled=precision != "float32"):
        steps = {name: lambda network=network: network(image) for name, network in networks.items()}
        seconds, _ = interleave(steps, repeats, warm_up=max(1, repeats // 5), device=device)
    table = [["", "images per second", "milliseconds, median", "million parameters", "paper's images per second"]]
    for name, row in rows.items():
        median = statistics.median(seconds[name])
        parameters = sum(parameter.numel() for parameter in networks[name].parameters())
        paper = f"{PAPER_IMAGES_PER_SECOND}" if row.method == "condseg" and not row.options else ""
        table.append([row.title, f"{1 / median:.1f}", f"{1000 * median:.1f}", f"{parameters / 1e6:.1f}", paper])
    name = torch.cuda.get_device_name() if device.startswith("cuda") else f"a CPU, {torch.get_num_threads()} thread(s)"
    return table, (
        f"{size}x{size}, one image at a time, {precision}, {name}; median of {repeats} passes, the rows in turn, after "
        f"{repeats // 5} that do not count. The paper's is of an RTX 4090, its precision is not said."
    )

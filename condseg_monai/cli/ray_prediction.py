"""Prediction on a Ray cluster: cases as a Ray data set, and a pool of actors with a model each."""

from __future__ import annotations

import json
import logging
import math
import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from condseg_monai.cli.workflows import open_run
from condseg_monai.utils.method_files import INFERENCE

__all__ = ["LOCAL", "predict_by_ray"]

_LOG = logging.getLogger(__name__)
LOCAL = "local"
_MOST_IMAGES = 32  # of a block, the unit that is handed out and, if its worker dies, handed out again
_RETRIES = 3  # of a block whose worker died


def predict_by_ray(address: str, workers: int | None, files: Sequence[str], options: Mapping[str, Any]) -> None:
    """Segment the cases of an inference config by a pool of Ray actors, one model each.

    This process lists the cases and keeps the record, as one process alone does; a worker runs the same config on a
    block of cases at a time. A block whose worker dies is handed out again, and what it had written is kept. A block
    that costs three more workers is given up, and its cases fail; so does a case that raises.

    Args:
        address: of a Ray cluster, as ``ray.init`` takes it; ``"local"`` starts one in this machine.
        workers: None for one per GPU of the cluster, or per CPU if it has none.
        files: the config, see :func:`open_run`.
        options: of it.

    Raises:
        ImportError: if Ray is not installed; the message names the extra.
        RunError: as of one process, at the start or listing the cases without a result.
        ValueError: if the cluster is not found, or has not as many GPUs or CPUs as workers are wanted.
    """
    ray = _load_ray()
    _connect(ray, address, workers)
    try:
        has_gpu, workers = _workers_of(ray.cluster_resources(), workers, options.get("device"))
        # what is recorded must hold for every worker, wherever it runs
        precision = options.get("precision") or ("float16" if has_gpu else "float32")
        shared = {**options, "precision": precision}
        workflow = open_run(files, {**shared, "device": "cpu"}, "infer")
        cases = workflow.parser.get_parsed_content("cases")
        is_ct = files[0] == INFERENCE["ct"]
        run: Any = workflow.parser.get_parsed_content("evaluator") if is_ct else cases
        with run.started():
            if cases.todo:
                own = {"device": "cuda" if has_gpu else "cpu", "num_workers": 0, "progress_bar": False}
                worker_options = {**own, **shared, "progress_bar": False, "overwrite": False}
                size = 1 if is_ct else max(1, min(_MOST_IMAGES, len(cases.todo) // (2 * workers)))
                dataset = _predictions(ray, cases.todo, size, workers, has_gpu, (list(files), worker_options))
                _collect(dataset, cases, options.get("progress_bar", True))
    finally:
        ray.shutdown()


def _load_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports its use to its makers otherwise
    try:
        import ray.data
    except ImportError as error:
        raise ImportError('--ray needs Ray: pip install "condseg_monai[ray]"') from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its plans and settings, in lines of its own
    return ray


def _connect(ray: Any, address: str, workers: int | None) -> None:
    local = {"include_dashboard": False, "num_cpus": workers} if address == LOCAL else {}
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ValueError(f"--ray: no Ray cluster at {address}: {error}; --ray local starts one here") from error


def _workers_of(resources: Mapping[str, float], workers: int | None, device: Any) -> tuple[bool, int]:
    """Whether each worker gets a GPU, else a CPU, and how many workers there are."""
    number = {kind: int(resources.get(kind, 0)) for kind in ("GPU", "CPU")}
    kind = "GPU" if (number["GPU"] and device is None) or str(device).startswith("cuda") else "CPU"
    if not 1 <= (workers or 1) <= number[kind]:
        wanted = "1 is needed" if workers is None else f"{workers} are wanted"
        raise ValueError(f"--ray_workers: the cluster has {number[kind]} {kind}(s), one for each, and {wanted}")
    return kind == "GPU", workers or number[kind]


def _predictions(
    ray: Any, todo: Sequence[Mapping[str, str]], size: int, workers: int, has_gpu: bool, arguments: tuple[Any, ...]
) -> Any:
    """The data set of what came of each case, which is computed when it is iterated."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # their cases are found to be without output
    return ray.data.from_items(
        [{"case": json.dumps(case)} for case in todo], override_num_blocks=math.ceil(len(todo) / size)
    ).map_batches(
        Worker,
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        fn_constructor_args=arguments,
        num_cpus=1,
        num_gpus=1 if has_gpu else 0,
        max_restarts=-1,
        max_task_retries=_RETRIES,
    )


def _collect(dataset: Any, cases: Any, progress_bar: bool) -> None:
    """Note what came of each case, with a bar."""
    from tqdm import tqdm

    from condseg_monai.data.lists.pairing import Finding

    by_worker: Counter[str] = Counter()
    with tqdm(total=len(cases.todo), desc=f"{cases.result}s", disable=None if progress_bar else True) as bar:
        for row in dataset.iter_rows():
            bar.update()
            by_worker[row["worker"]] += 1
            if row["failed"]:
                cases.fail(Finding("worker", row["failed"], (json.loads(row["case"])["image"],)))
    counts = ", ".join(f"{worker}: {count}" for worker, count in sorted(by_worker.items()))
    _LOG.info(f"{len(by_worker)} workers, cases of each: {counts}")


class Worker:
    """An actor: the workflow of a config, kept between blocks.

    Args:
        files: the config.
        options: of it.
    """

    def __init__(self, files: Sequence[str], options: Mapping[str, Any]) -> None:
        self.files, self.options = files, options
        self._open()

    def __call__(self, block: Mapping[str, Any]) -> dict[str, list[str]]:
        """Segment a block of cases; return each with why it failed, or an empty text, and by whom."""
        from condseg_monai.inference.cases import RunError

        part = [json.loads(case) for case in block["case"]]
        cases, failed = self.cases, {}
        cases.take_part(part)
        try:
            self.run()
        except Exception as error:
            if not isinstance(error, RunError):  # which lists the failures of cases
                text = f"{type(error).__name__}: {error}"
                failed = {case["image"]: text for case in cases.todo if cases.is_missing(case)}
            self._open()  # an engine that was left by an exception does nothing in its next run
        failed |= {finding.files[0]: finding.text for finding in cases.failed}
        return {
            "case": list(block["case"]),
            "failed": [failed.get(case["image"], "") for case in part],
            "worker": [f"{socket.gethostname()}:{os.getpid()}"] * len(part),
        }

    def _open(self) -> None:
        workflow = open_run(self.files, self.options, "infer")
        self.cases = workflow.parser.get_parsed_content("cases")
        self.cases.take_part([])  # before the data set, which would list the source
        evaluator = workflow.parser.get_parsed_content("evaluator")
        self.run = evaluator.run if self.files[0] == INFERENCE["ct"] else partial(self.cases.run, evaluator)

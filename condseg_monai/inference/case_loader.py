"""Data loader and evaluator iteration for cases of any size, of which some cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from monai.data import Dataset, MetaTensor
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from condseg_monai.data.images.image_reader import UnreadableImageError
from condseg_monai.data.lists.pairing import Case, DatasetError, Finding
from condseg_monai.inference.cases import Cases
from condseg_monai.utils.interruption import leave_signals_to_parent

__all__ = ["CaseLoader", "CasePostprocessing", "predict_cases"]


class CaseLoader:
    """Data loader that leaves out the cases that cannot be read, and reports them to ``cases`` as failed.

    Batches are lists of cases: labels may have any size. Each file is decoded once. How many batches there are is known
    at the end only, so that there is no length; a RunError then, if no case could be read. ``progress`` shows a bar on
    a terminal.
    """

    def __init__(
        self, dataset: Dataset, cases: Cases, batch_size: int = 1, num_workers: int = 0, progress: bool = True
    ) -> None:
        self.dataset, self.cases, self.progress = dataset, cases, progress
        self._loader = DataLoader(
            _Attempts(dataset),
            batch_size,
            num_workers=num_workers,
            collate_fn=list,
            worker_init_fn=leave_signals_to_parent,
        )

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        any_read = False
        for batch in tqdm(self._loader, desc=f"{self.cases.result}s", disable=None if self.progress else True):
            for failure in (item for item in batch if isinstance(item, Finding)):
                self.cases.fail(failure)
            if read := [item for item in batch if not isinstance(item, Finding)]:
                any_read = True
                yield read
        if not any_read:
            self.cases.finish()


class _Attempts(torch.utils.data.Dataset):
    """The cases of a dataset, or why they cannot be read."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except Exception as error:
            return _finding(error, self.dataset.data[index])


class CasePostprocessing:
    """Transform of one case after another, where whatever a case raises is reported to ``cases`` as its failure."""

    def __init__(self, transform: Callable[[Any], Any], cases: Cases) -> None:
        self.transform, self.cases = transform, cases

    def __call__(self, case: Any) -> Any:
        """Transform a case; one that fails is returned as it came."""
        try:
            return self.transform(case)
        except Exception as error:
            self.cases.fail(_finding(error, {"image": str(case["image"].meta["filename_or_obj"])}))
            return case


def _finding(error: Exception, case: Case) -> Finding:
    """Why a case has no result: MONAI's Compose names the transform, and has the reason as its cause."""
    reason: BaseException = error
    while reason.__cause__ is not None and not isinstance(reason, (DatasetError, UnreadableImageError, OSError)):
        reason = reason.__cause__
    text = str(reason)
    if not isinstance(reason, (DatasetError, UnreadableImageError)):
        text = f"{case['image']}: {type(reason).__name__}: {text}"
    return Finding("unreadable", text, tuple(case[key] for key in ("image", "label") if key in case))


def predict_cases(engine: Engine, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Iteration of a MONAI evaluator over the batches of :class:`CaseLoader`: its ``iteration_update``.

    ``batch`` has cases with ``image``, ``(C, H, W)``, all of one size. Returns them with ``pred``, ``(C, H, W)``
    logits, or with what else the inferer returns by name. The evaluator has ``decollate`` off.
    """
    evaluator: Any = engine
    with evaluator.mode(evaluator.network):
        cases = predict_batch(batch, evaluator.inferer, evaluator.network, evaluator.state.device)
    evaluator.state.batch, evaluator.state.output = batch, cases
    evaluator.fire_event(IterationEvents.FORWARD_COMPLETED)
    evaluator.fire_event(IterationEvents.MODEL_COMPLETED)
    return evaluator.state.output


def predict_batch(
    batch: Sequence[Mapping[str, Any]], inferer: Callable[..., Any], network: nn.Module, device: torch.device
) -> list[dict[str, Any]]:
    """Predict cases with ``image``, ``(C, H, W)``, all of one size; see :func:`predict_cases`."""
    cases = [dict(case) for case in batch]
    for case in cases:
        tensors = {key: value for key, value in case.items() if isinstance(value, Tensor)}
        case.update({key: value.to(device, non_blocking=True) for key, value in tensors.items()})
    images = torch.stack([case["image"].as_subclass(Tensor) for case in cases])
    output = inferer(images, network)
    outputs = output if isinstance(output, dict) else {"pred": output}
    for i, case in enumerate(cases):
        meta = getattr(case["image"], "meta", None)
        case.update({name: MetaTensor(values[i], meta=meta) for name, values in outputs.items()})
    return cases

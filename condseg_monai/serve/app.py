"""The service: a FastAPI application around a Segmenter."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import Message

from condseg_monai.segmenter import Segmenter
from condseg_monai.serve.answers import FORMATS, Answer, class_facts
from condseg_monai.serve.batch_workers import BatchWorkers
from condseg_monai.serve.uploads import MAX_FILES, Upload, opened, without_folder
from condseg_monai.version import __version__

__all__ = ["Limits", "make_app"]

_LOG = logging.getLogger(__name__)
_STATIC = Path(__file__).parent / "static"
_UPLOAD = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": "An image; for a CT model a NIfTI file, a zip of one or of a DICOM series, or its slices.",
        }
    },
}
_ERRORS = {
    400: "The body is no multipart form, or was cut short.",
    406: "The model has no mask of this kind.",
    408: "The upload took too long.",
    413: "The upload is too large.",
    415: "The body is no multipart form by its Content-Type.",
    422: "The file cannot be segmented; the message says why.",
    500: "The prediction failed.",
    501: "The service lacks a package that this file or format needs.",
    503: "As many requests as may wait do; Retry-After says in how many seconds to come again.",
    504: "The prediction took too long.",
}


@dataclass(frozen=True)
class Limits:
    """What a service takes on.

    Attributes:
        requests: at a time, uploads and predictions; a further one is sent away.
        upload_bytes: of one request.
        seconds: of one upload, and of one prediction from the end of the upload on.
    """

    requests: int = 64
    upload_bytes: int = 512_000_000
    seconds: float = 300


@dataclass(frozen=True)
class _Job:
    files: list[Upload]
    answer: Answer


class _Metrics:
    def __init__(self, in_progress: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("condseg_requests", "Requests of a prediction", ["status"], registry=self.registry)
        self.seconds = Histogram("condseg_request_seconds", "Seconds from upload to answer", registry=self.registry)
        sizes = [1, 2, 4, 8, 16, 32, 64]
        self.batch = Histogram("condseg_batch_size", "Requests a batch", buckets=sizes, registry=self.registry)
        gauge = Gauge("condseg_requests_in_progress", "Requests accepted, not answered", registry=self.registry)
        gauge.set_function(in_progress)


def make_app(
    segmenter: Segmenter,
    name: str = "model",
    limits: Limits | None = None,
    workers: int = 1,
    hosts: Sequence[str] = ("*",),
) -> FastAPI:
    """Make the application; its threads live from its startup to its shutdown, which waits for accepted requests.

    Args:
        segmenter: with a model card, and loaded, as its first use would block the service.
        name: of the model, for people.
        limits: the defaults if None.
        workers: threads that predict, all with the one model.
        hosts: names by which it may be called; ``"*"`` is any. On a loopback address its own only, so that no page from
            elsewhere, whose name leads there too, reads what it answers.
    """
    limits = limits or Limits()
    service = _Service(segmenter, limits, workers)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    # FastAPI's own pages of documentation load scripts from elsewhere
    app = FastAPI(title="condseg", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))

    @app.exception_handler(Exception)
    def failed(_: Request, error: Exception) -> JSONResponse:
        _LOG.error(f"the service failed: {type(error).__name__}: {error}", exc_info=error)
        return JSONResponse({"detail": "the service failed; its log says why"}, 500)

    @app.post(
        "/predict",
        response_class=Response,
        responses={
            200: {"content": {"application/json": {}, **{mask.media_type: {} for mask in FORMATS.values()}}},
            **{status: {"description": words} for status, words in _ERRORS.items()},
        },
        openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": _UPLOAD}}, "required": True}},
    )
    async def predict(
        request: Request,
        format: Annotated[Literal["json", "png", "nifti", "seg"] | None, Query()] = None,
        threshold: Annotated[float | None, Query(gt=0, lt=1)] = None,
        view: bool = False,
    ) -> Response:
        """Segment an image or a CT volume.

        The answer is as `format` says, else the first that there is of those in the header `Accept`, else JSON: the
        area of each class, of CT its volume, and the largest probability. `threshold` takes the place of the model's
        for this mask; `view=true` adds to JSON the mask's file and what the page shows.
        """
        answer = Answer(segmenter.card, format or _accepted(request.headers.get("accept", "")), threshold, view)
        return await service.respond(request, answer)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Say that the service runs, and what it serves."""
        card = segmenter.card
        return {
            "status": "ok",
            "model": name,
            "version": __version__,
            "kind": card.kind,
            "threshold": card.threshold if card.is_binary else None,
            "classes": class_facts(card, segmenter.class_names),
            "max_upload_bytes": limits.upload_bytes,
        }

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(generate_latest(service.metrics.registry), media_type="text/plain; version=0.0.4")

    app.mount("/", StaticFiles(directory=_STATIC, html=True))
    return app


def _accepted(header: str) -> str:
    by_type = {"application/json": "json", **{mask.media_type: name for name, mask in FORMATS.items()}}
    types = [entry.partition(";")[0].strip().lower() for entry in header.split(",")]
    if known := [by_type[entry] for entry in types if entry in by_type]:
        return known[0]
    if header.strip() and not {"*/*", "application/*"} & set(types):
        raise HTTPException(406, f"Accept is {header}; there are {', '.join(by_type)}")
    return "json"


class _Service:
    """From a request to its answer: places for requests, uploads, and batches of predictions."""

    def __init__(self, segmenter: Segmenter, limits: Limits, workers: int) -> None:
        self.segmenter, self.limits, self.workers = segmenter, limits, workers
        self.in_progress = 0
        self.seconds = 1.0  # that the last prediction took
        self.metrics = _Metrics(lambda: self.in_progress)

    def start(self) -> None:
        # volumes fill batches with their slices
        size = self.segmenter.batch_size if self.segmenter.card.kind == "image" else 1
        self.threads = BatchWorkers(self._predict, self.workers, size)

    def stop(self) -> None:
        self.threads.close()

    async def respond(self, request: Request, answer: Answer) -> Response:
        """Answer a request, or raise an HTTPException."""
        try:
            response = await self._respond(request, answer)
        except HTTPException as error:
            self.metrics.requests.labels(error.status_code).inc()
            raise
        self.metrics.requests.labels(200).inc()
        return response

    async def _respond(self, request: Request, answer: Answer) -> Response:
        self._check(request, answer)
        if self.in_progress >= self.limits.requests:
            await self._within_seconds(_discard(request), 408, "the upload")  # it would not read the answer before
            after = {"Retry-After": str(math.ceil(self.seconds))}
            raise HTTPException(503, f"{self.limits.requests} requests are in progress; come again later", after)
        self.in_progress += 1
        try:
            started = time.perf_counter()
            form = await self._within_seconds(self._read_form(request), 408, "the upload")
            try:
                parts = [part for part in form.getlist("file") if isinstance(part, UploadFile)]
                files = [(part.filename or "file", part.file) for part in parts]
                future = asyncio.wrap_future(self.threads.submit(_Job(files, answer)))
                content = await self._within_seconds(future, 504, "the prediction")
            finally:
                await form.close()
            self.metrics.seconds.observe(time.perf_counter() - started)
        finally:
            self.in_progress -= 1
        mask = FORMATS.get(answer.format)
        headers = {"Content-Disposition": f'attachment; filename="{mask.file}"'} if mask else {}
        return Response(content, media_type=answer.media_type, headers=headers)

    def _check(self, request: Request, answer: Answer) -> None:
        """Refuse what can be refused before the body is read."""
        card = answer.card
        if answer.format != "json" and FORMATS[answer.format].kind != card.kind:
            there = [name for name, mask in FORMATS.items() if mask.kind == card.kind]
            raise HTTPException(406, f"format is {answer.format}; of this model there are json, {', '.join(there)}")
        if answer.threshold is not None and not card.is_binary:
            raise HTTPException(422, "threshold is of binary masks, and this model has several classes")
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise HTTPException(415, "send multipart/form-data with a part called file, as curl -F file=@NAME does")
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.limits.upload_bytes:
            raise self._too_large(int(length))

    def _too_large(self, size: int) -> HTTPException:
        limit = self.limits.upload_bytes
        return HTTPException(413, f"the upload has {size} bytes or more, and the limit is {limit}")

    async def _read_form(self, request: Request) -> Any:
        size = 0

        async def receive() -> Message:
            nonlocal size
            message = await request.receive()
            size += len(message.get("body", b""))
            if size > self.limits.upload_bytes:
                raise self._too_large(size)
            return message

        return await Request(request.scope, receive).form(max_files=MAX_FILES, max_fields=10)

    async def _within_seconds(self, work: Any, status: int, words: str) -> Any:
        try:
            return await asyncio.wait_for(work, self.limits.seconds)
        except asyncio.TimeoutError as error:
            raise HTTPException(status, f"{words} took more than {self.limits.seconds:g} s") from error
        except ClientDisconnect as error:
            raise HTTPException(400, f"{words} was cut short") from error
        except HTTPException:
            raise
        except ValueError as error:
            raise HTTPException(422, without_folder(str(error))) from error
        except ImportError as error:
            raise HTTPException(501, str(error)) from error
        except Exception as error:
            _LOG.error(f"{words} failed: {type(error).__name__}: {error}", exc_info=error)
            raise HTTPException(500, f"{words} failed; the service's log says why") from error

    def _predict(self, jobs: list[_Job]) -> list[Any]:
        """Content of the answer to each job, or the exception that it raised."""
        started = time.perf_counter()
        self.metrics.batch.observe(len(jobs))
        with ExitStack() as stack:
            kind = self.segmenter.card.kind
            inputs = [_attempt(lambda job: stack.enter_context(opened(job.files, kind)), job) for job in jobs]
            good = [item for item in inputs if not isinstance(item, Exception)]
            found = _attempt(self.segmenter.predict, good) if len(good) > 1 else None
            if not isinstance(found, list):  # one that cannot be segmented must not take the others with it
                found = [_attempt(self.segmenter.predict, item) for item in good]
            left = iter(found)
            results = [item if isinstance(item, Exception) else next(left) for item in inputs]
            contents = [_attempt(job.answer.content, item) for job, item in zip(jobs, results, strict=True)]
        self.seconds = time.perf_counter() - started
        return contents


def _attempt(function: Callable[[Any], Any], item: Any) -> Any:
    """The result, or the exception; of an item that is an exception already, that."""
    try:
        return item if isinstance(item, Exception) else function(item)
    except Exception as error:
        return error


async def _discard(request: Request) -> None:
    async for _ in request.stream():
        pass

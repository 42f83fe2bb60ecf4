"""Command ``serve``: a model as a service over HTTP, with a page to try it."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from condseg_monai.cli.config_options import ConfigCommand, given_options, with_config_options
from condseg_monai.cli.program import read_model, start_work

__all__ = ["command"]

_OPTIONS = ("device", "precision", "batch_size", "tta", "keep_largest", "check_values")
_PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command("serve", cls=ConfigCommand, short_help="Serve a model over HTTP, with a page to try it.")
@click.argument("model")
@click.option("--host", default=_LOOPBACK[0], show_default=True, help="address to listen on; 0.0.0.0: all there are")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="threads that predict")
@click.option(
    "--max_requests", type=click.IntRange(1), default=64, show_default=True, help="at a time; a further one gets 503"
)
@click.option("--max_upload", type=click.IntRange(1), default=512, show_default=True, help="megabytes of a request")
@click.option(
    "--timeout", type=click.IntRange(1), default=300, show_default=True, help="seconds of an upload, of a prediction"
)
@with_config_options(_OPTIONS)
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    host: str,
    port: int,
    workers: int,
    max_requests: int,
    max_upload: int,
    timeout: int,
    **options: Any,
) -> None:
    """Serve MODEL over HTTP: POST /predict, a page at /, /health, /metrics and /openapi.json.

    Images and volumes are segmented as condseg predict does, and not kept. There is no log-in and no encryption: the
    service listens on this machine alone unless --host says otherwise. SIGTERM and Ctrl-C end it when all accepted
    requests are answered.
    """
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise ImportError(f'condseg serve needs {", ".join(missing)}: pip install "condseg_monai[serve]"')
    read_model(model)
    listener = _listen(host, port)
    start_work(ctx, "the accepted requests were answered")
    import torch
    import uvicorn

    from condseg_monai.segmenter import Segmenter
    from condseg_monai.serve.app import Limits, make_app

    segmenter = Segmenter(model, **given_options(ctx, options))
    _ = segmenter.card  # loads it
    # Each thread that computes has PyTorch's number of threads to itself, and more than cores wait for each other.
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    limits = Limits(max_requests, max_upload * 1_000_000, timeout)
    hosts = ("127.0.0.1", "localhost", "[::1]") if host in _LOOPBACK else ("*",)
    name = Path(model).absolute().name  # visitors need no path of this machine
    app = make_app(segmenter, name, limits, workers, hosts)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    address = f"[{host}]" if ":" in host else host
    click.echo(f"http://{address}:{listener.getsockname()[1]} serves {model}; Ctrl-C ends it")
    server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, made before the model is loaded, so that a port that is taken is told at once."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        reason = f"--host {host} --port {port} cannot be listened on: {error.strerror or error}; give another"
        raise OSError(reason) from error

"""Command ``export``: a trained model as TorchScript, ONNX, ``torch.export``, or for a Triton server."""

from __future__ import annotations

from pathlib import Path

import click

from condseg_monai.cli.program import Command, PathValue, start_work

__all__ = ["command"]

_FORMATS = ("torchscript", "onnx", "torch_export", "triton")


@click.command("export", cls=Command, short_help="Export to TorchScript, ONNX, torch.export or Triton.")
@click.argument("model")
@click.argument("path", metavar="FILE", type=PathValue())
@click.option(
    "--format", "format_", type=click.Choice(_FORMATS), help="the default is told by the ending: .ts, .onnx or .pt2"
)
@click.option("--overwrite", is_flag=True, help="replace FILE if it exists")
@click.pass_context
def command(ctx: click.Context, model: str, path: Path, format_: str | None, overwrite: bool) -> None:
    """Export MODEL to FILE, and hold the export against it.

    Images (batch, channels, height, width), prepared as inference.json does, go in; logits of the mask come out.
    Of --format triton FILE is a folder, REPOSITORY/NAME, with the model NAME for a Triton server of REPOSITORY.
    """
    start_work(ctx, "nothing was written")
    from condseg_monai.cli.logs import send_to_log
    from condseg_monai.inference.model_export import EXPORT_FORMATS, export_model

    send_to_log()
    by_ending = {ending: name for name, ending in EXPORT_FORMATS.items() if ending}
    name = format_ or by_ending.get(path.suffix)
    if name is None:
        raise click.UsageError(f"FILE {path} ends in none of {', '.join(by_ending)}: give --format")
    difference = export_model(model, path, name, overwrite)
    click.echo(f"{path}: {name}, equal to the model within {difference:.1e} of its largest logit")

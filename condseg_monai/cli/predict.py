"""Command ``predict``: masks of images, label volumes of CT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from condseg_monai.cli.config_options import ConfigCommand, given_options, with_config_options
from condseg_monai.cli.console import aside, say
from condseg_monai.cli.program import PathValue, print_use, read_model, start_work, wrong_option
from condseg_monai.cli.ray_prediction import predict_by_ray
from condseg_monai.cli.workflows import command_of_model, option_names, run
from condseg_monai.utils.method_files import INFERENCE

__all__ = ["command"]

_OWN = {"bundle_root", "stage", "dataset_dir", "output_dir", "ckpt_dir", "checkpoint"}
_NAMES = {name for files in INFERENCE.values() for name in option_names((files,))} - _OWN


@click.command("predict", cls=ConfigCommand, short_help="Segment images or CT volumes.")
@click.argument("model")
@click.argument("source", type=PathValue())
@click.argument("output_dir", metavar="OUT", type=PathValue(file_okay=False))
@click.option(
    "--kind", type=click.Choice([*INFERENCE]), help="what the model segments [as its model card says, else image]"
)
@click.option(
    "--ray", metavar="ADDRESS", help="share the work on this Ray cluster; local: one of processes here (extra ray)"
)
@click.option("--ray_workers", type=click.IntRange(1), help="of --ray, a model each [one per GPU, else per CPU]")
@with_config_options(_NAMES)
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    source: Path,
    output_dir: Path,
    kind: str | None,
    ray: str | None,
    ray_workers: int | None,
    **options: Any,
) -> None:
    """Segment SOURCE with MODEL and write the masks into OUT.

    MODEL is a checkpoint, the folder of a run or a bundle, a zip of one, or the name of a shipped model;
    its model card says what it segments. SOURCE is an image, a folder of images or a list; DICOM pictures
    are images, each frame of a clip one, as clip.dcm#12 is its twelfth; for CT, a NIfTI file, a
    DICOM series, or a folder of them. What is in OUT already, of the same source, weights and settings, is kept. The
    exit code is 1 if something failed.
    """
    from condseg_monai.data.images.dicom_picture import frame_of  # with NumPy, and --help does without
    from condseg_monai.data.images.image_reader import IMAGE_EXTENSIONS

    if output_dir.suffix.lower() in IMAGE_EXTENSIONS:
        raise click.BadParameter(f"{output_dir} is the name of an image, and OUT is a folder", param_hint="OUT")
    checkpoint, card = read_model(model, source)
    if not frame_of(source)[0].exists():
        raise click.BadParameter(f"Path '{source}' does not exist.", param_hint="SOURCE")
    files = (INFERENCE[kind or (card.kind if card else "image")],)
    given = given_options(ctx, options)
    for name in given.keys() - option_names(files):
        raise wrong_option(name, f"{files[0]}.json, which this model needs, has no such option")
    places = {"dataset_dir": source, "output_dir": output_dir}
    settings = {name: str(path.absolute()) for name, path in {**places, "checkpoint": checkpoint}.items()} | given
    if ray_workers is not None and ray is None:
        raise wrong_option("ray_workers", "are those of --ray, which is missing")
    if ray is None:
        say(aside(command_of_model(model, files, settings)))
    print_use(card)
    start_work(ctx, "the same command continues; what is done is kept")
    if ray is None:
        run(files, settings, "infer")
    else:
        predict_by_ray(ray, ray_workers, files, settings)
    click.echo(f"\nmasks  {output_dir}")

"""`cnnctl predict`: image files → classes with probabilities; TensorFlow starts once there are files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cnnctl.errors import DataError, UsageError
from cnnctl.files import write_whole
from cnnctl.report.console import Console
from cnnctl.report.predictions import MOST_DRAWN, predictions_json, predictions_markdown, predictions_table
from cnnctl.report.text import printable
from cnnctl.runs import open_run_folder
from cnnctl.spec.few_shot import refuse_few_shot
from cnnctl.spec.folders import IMAGE_SUFFIXES, image_files
from cnnctl.spec.load import load
from cnnctl.train.quiet import import_tensorflow

DRAW = {"table": predictions_table, "json": predictions_json, "markdown": predictions_markdown}


def predict(
    folder: Path,
    images: Sequence[Path],
    top: int,
    saliency: Path | None,
    form: str,
    device: str,
    console: Console,
    verbose: bool,
) -> None:
    """Prints the most probable classes of each image; files that are no images are named once the others are done.

    Args:
        folder: of the run.
        images: files, whatever they are called, and folders that are searched for images.
        top: classes to show of each.
        saliency: PNG file for a picture of the pixels that count; None for none.
        form: `table`, `json` or `markdown`.
        device: `auto`, `cpu` or `gpu`.
        console: where to print.
        verbose: let TensorFlow's messages through.

    Raises:
        UsageError: there is no run, no such image, or the picture cannot be where it is wanted.
        RunError: the run was cut short or is damaged.
        DataError: a folder has no image, or some files cannot be read as images.
    """
    experiment = load(open_run_folder(folder).config, look_at_data=False)
    refuse_few_shot(
        experiment, "predict", "its network names no classes: cnnctl evaluate judges it, cnnctl one-shot matches images"
    )
    files = _files(images)
    if saliency is not None:
        _refuse_unusable(saliency, files)
    with console.working("starting TensorFlow"):
        import_tensorflow(verbose)
        from cnnctl.commands.prediction import predicted, saliency_picture
        from cnnctl.commands.trained import open_trained
        from cnnctl.train.device import choose_device
    computes_on = choose_device(device)
    trained = open_trained(folder)
    with console.working(f"predicting {len(files):,} images"):
        named = predicted(trained, files, top)
    console.say(f"device  {computes_on}")
    if named.predictions or form == "json":
        console.result(DRAW[form](named.predictions))
    if saliency is not None and named.predictions:
        write_whole(saliency, saliency_picture(trained, named))
        console.say(_drawn(saliency, len(named.predictions)))
    if named.broken:
        raise DataError("\n".join(map(printable, named.broken)))


def _files(paths: Sequence[Path]) -> list[Path]:
    """Returns the files that the arguments name, those of a folder sorted.

    Raises:
        UsageError: something is not there.
        DataError: a folder has no image.
    """
    missing = [printable(str(path)) for path in paths if not path.exists()]
    if missing:
        raise UsageError("\n".join(f"{path}: there is no such file or folder; give images to predict" for path in missing))
    return [file for path in paths for file in (_images_below(path) if path.is_dir() else [path])]


def _images_below(folder: Path) -> list[Path]:
    """Returns the images in a folder and in all below it; what is hidden is left out."""
    found: list[Path] = []
    for root, folders, _ in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += image_files(Path(root), folder)
    if not found:
        suffixes = ", ".join(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES)
        raise DataError(f"{printable(str(folder))}: there is no image ({suffixes}) in this folder or below it")
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise DataError(f"{printable(str(error.filename))} cannot be read: {error.strerror}") from error


def _refuse_unusable(saliency: Path, files: Sequence[Path]) -> None:
    """Raises what is wrong with the place of the picture, before anything slow."""
    name = printable(str(saliency))
    if saliency.suffix.lower() != ".png":
        raise UsageError(f"--saliency {name}: a PNG is written; give a name that ends with .png")
    if saliency.is_dir():
        raise UsageError(f"--saliency {name}: that is a folder; give a file in it")
    if not saliency.parent.is_dir():
        raise UsageError(f"--saliency {name}: there is no folder {printable(str(saliency.parent))}")
    if saliency.exists() and any(saliency.samefile(file) for file in files):
        raise UsageError(f"--saliency {name}: this is one of the images to predict; give the picture another name")


def _drawn(saliency: Path, count: int) -> str:
    of = f", of the first {MOST_DRAWN} of {count:,} images" if count > MOST_DRAWN else ""
    return f"saliency  {printable(str(saliency))}{of}"

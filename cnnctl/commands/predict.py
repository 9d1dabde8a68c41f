"""`cnnctl predict`: classify image files. TensorFlow starts after the arguments are checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnctl.errors import DataError, UsageError, counted
from cnnctl.evaluate.image_options import AS_TRAINED, ImageOptions
from cnnctl.evaluate.prediction_tables import MAX_DRAWN, predictions_json, predictions_markdown, predictions_table
from cnnctl.evaluate.saliency_methods import GRADIENT, refuse_method
from cnnctl.evaluate.same_images import check_compatible
from cnnctl.files import refuse_output, write_whole
from cnnctl.report.console import Console
from cnnctl.report.text import printable
from cnnctl.run_folder import is_run_folder
from cnnctl.session.run_files import config_of_run
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.few_shot import refuse_few_shot
from cnnctl.spec.image_files import KINDS
from cnnctl.spec.listing import Unread, accounted, listed, refuse_images_away
from cnnctl.train.quiet import import_tensorflow

if TYPE_CHECKING:
    from cnnctl.data.inputs import Inputs
    from cnnctl.evaluate.prediction import Predicted
    from cnnctl.session.trained_run import Trained

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
    show: Path | None = None,
    options: ImageOptions = AS_TRAINED,
    method: str | None = None,
) -> None:
    """Print the most probable classes of each image; for several runs, by the mean of their probabilities.

    Files that are not images are reported after the others are classified. A warning names the option that helps where
    images differ from the training images of the run.

    Args:
        folder: the run folder.
        images: further runs to average with, then image files of any name and folders to search. Every image of a file
            of many images, such as test.csv, is classified.
        top: number of classes to show per image.
        saliency: PNG file for the saliency maps, or None.
        form: `table`, `json` or `markdown`.
        device: `auto`, `cpu` or `gpu`.
        console: prints results and messages.
        verbose: show TensorFlow's log.
        show: PNG file for each image beside the network's input, or None.
        options: changes to how the run reads images.
        method: of the saliency maps, `gradient` or `grad_cam`; None for the gradient.

    Raises:
        UsageError: a run or an image does not exist, a picture cannot be created, or the network does not suit the method.
        RunError: the run is incomplete or damaged.
        DataError: a folder contains no image, or some files cannot be read as images.
    """
    folders, images = _runs_and_images(folder, images)
    experiments = _refuse_unusable_runs(folders, saliency, console)
    refuse_method(method, saliency, folder, experiments[0])
    options.refuse_unusable()
    notes: list[str] = []
    files = _files(images, notes)
    for note in notes:
        console.say(f"note    {note}")
    pictures = {option: file for option, file in (("--saliency", saliency), ("--show", show)) if file is not None}
    _refuse_unusable(pictures)
    with console.working("starting TensorFlow"):
        import_tensorflow(verbose)
        from cnnctl.train.device import choose_device
    computes_on = choose_device(device)
    named_files = [path for path in images if not path.is_dir()]
    named, input_notes, trained = _predicted(folders, files, named_files, top, options, MAX_DRAWN if show else 0, console)
    console.say(f"device  {computes_on}")
    if len(folders) > 1:
        console.say(f"runs    the mean of the probabilities of {len(folders)} runs")
    _print(named, input_notes, form, console)
    if named.predictions:
        _draw(pictures, named, trained, method or GRADIENT, console)
    if named.broken:
        raise DataError("\n".join(map(printable, named.broken)))


def _predicted(
    folders: Sequence[Path],
    files: Sequence[Path],
    named_files: Sequence[Path],
    top: int,
    options: ImageOptions,
    drawn: int,
    console: Console,
) -> tuple[Predicted, list[str], Trained | None]:
    """Predict with one run or several; return also the notes on the images, and the network of a single run."""
    from cnnctl.evaluate.ensemble import refuse_other_names
    from cnnctl.evaluate.prediction import inputs_of, predicted, predicted_together
    from cnnctl.session.environment import training_images
    from cnnctl.session.trained_run import EndedRun, open_ended, with_network

    def inputs_for(run: EndedRun) -> Inputs:
        own = run.experiment.data
        return inputs_of(files, named_files, own, options.applied(own), drawn)

    runs = [open_ended(each) for each in folders]
    refuse_other_names(runs)
    trained = with_network(runs[0]) if len(runs) == 1 else None
    inputs = inputs_for(runs[0])
    with console.working(f"predicting {counted(inputs.count, 'image')}"):
        if trained:
            named = predicted(trained, inputs, top, training_images(trained.run, console))
        else:
            named, inputs = predicted_together(runs, inputs_for, top, console)
    return named, inputs.notes(), trained


def _print(named: Predicted, notes: Sequence[str], form: str, console: Console) -> None:
    """Print the classes of the images, then the notes and warnings."""
    if named.predictions or form == "json":
        console.result(DRAW[form](named.predictions))
    for note in notes:
        console.say(f"note    {note}")
    for finding in named.findings:
        console.say(f"warning  {finding}")


def _draw(pictures: Mapping[str, Path], named: Predicted, trained: Trained | None, method: str, console: Console) -> None:
    """Write the requested pictures. `pictures` maps options to files; `trained` is the network of a single run."""
    from cnnctl.evaluate.prediction import saliency_picture, seen_picture

    for option, file in pictures.items():
        picture = saliency_picture(trained, named, method) if trained and option == "--saliency" else seen_picture(named)
        write_whole(file, picture)
        console.say(_drawn(option, file, len(named.predictions)))


def _runs_and_images(folder: Path, others: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Separate the runs from the images. `folder` counts as a run in any case, so that its errors are reported.

    Raises:
        UsageError: there is no image.
    """
    more = [path for path in others if is_run_folder(path)]
    images = [path for path in others if path not in more]
    if not images:
        raise UsageError(f"{printable(str(others[-1]))} is a run, like every argument before it; add images after the runs")
    return [folder, *more], images


def _refuse_unusable_runs(folders: Sequence[Path], saliency: Path | None, console: Console) -> list[Experiment]:
    """Check each run, and that the runs can be averaged, before anything slow; return their configs."""
    experiments = [config_of_run(folder, console) for folder in folders]
    for experiment in experiments:
        refuse_few_shot(experiment, "predict", "its network has no class outputs; use cnnctl evaluate or cnnctl one-shot")
    if len(folders) > 1:
        check_compatible(folders, experiments, None)
        if saliency:
            raise UsageError(f"--saliency needs exactly one RUN, received {len(folders)}; remove --saliency or the other runs")
    return experiments


def _files(paths: Sequence[Path], notes: list[str]) -> list[Path]:
    """List the image files that the arguments name; files of a folder are sorted.

    Raises:
        UsageError: a path does not exist.
        DataError: a folder contains no image.
    """
    missing = [printable(str(path)) for path in paths if not path.exists()]
    if missing:
        raise UsageError("\n".join(f"{path}: no such file or folder" for path in missing))
    return [file for path in paths for file in (_images_below(path, notes) if path.is_dir() else [path])]


def _images_below(folder: Path, notes: list[str]) -> list[Path]:
    """List the images in a folder and its subfolders, without hidden files; append the files not read to `notes`."""
    try:
        found = listed(folder)
        refuse_images_away(found, folder, folder)
    except OSError as error:
        raise DataError(f"{printable(str(error.filename))} cannot be read: {error.strerror}") from error
    unread = [*found.unread, *(Unread(place, "link out of the folder") for place in found.away)]
    left = f"; not read: {accounted(unread)}" if unread else ""
    if not found.images:
        raise DataError(f"{printable(str(folder))}: no image ({KINDS}) in this folder or its subfolders{left}")
    notes.append(f"read {counted(len(found.images), 'image')} in {folder}{left}")
    return [folder.joinpath(*place) for place in found.images]


def _refuse_unusable(pictures: Mapping[str, Path]) -> None:
    """Check the output paths of pictures, given by option, before anything slow."""
    for option, picture in pictures.items():
        refuse_output(picture, option, ".png")
    if len({picture.resolve() for picture in pictures.values()}) < len(pictures):
        raise UsageError(f"{' and '.join(pictures)} name the same file; choose two different names")


def _drawn(option: str, picture: Path, count: int) -> str:
    of = f", of the first {MAX_DRAWN} of {count:,} images" if count > MAX_DRAWN else ""
    return f"{option.removeprefix('--'):<8}  {printable(str(picture))}{of}"

"""`cnnctl evaluate`: trained networks judged on images with labels; TensorFlow starts once the folders are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from cnnctl.errors import RunError, UsageError
from cnnctl.evaluate.image_options import AS_TRAINED, ImageOptions
from cnnctl.evaluate.same_images import check_compatible
from cnnctl.few_shot.options import AS_CONFIGURED, EpisodeOptions
from cnnctl.report.console import Console
from cnnctl.report.tables import as_json
from cnnctl.session.run_files import config_of_run
from cnnctl.spec.experiment import Experiment
from cnnctl.train.quiet import import_tensorflow


class EvaluationResult(Protocol):
    """What an evaluation found, of classes, of episodes or of several networks."""

    @property
    def root(self) -> Path | None:
        """The folder of other data; None for the run's own."""

    @property
    def notes(self) -> list[str]:
        """What a person should know about the images."""

    @property
    def warnings(self) -> list[str]:
        """What makes the images unlike the training images, with the option that helps."""

    def as_plain(self) -> dict[str, Any]:
        """Returns it for JSON."""
        ...

    def text(self, form: str) -> str:
        """Returns it for people, as `table` or `markdown`."""
        ...

    def keep(self, console: Console) -> list[str]:
        """Writes it into the run where it is of one; returns a line a file.

        Raises:
            RunError: the run cannot be written to.
        """
        ...


def evaluate(
    folders: Sequence[Path],
    split: str | None,
    data: str | None,
    form: str,
    device: str,
    console: Console,
    verbose: bool,
    wish: EpisodeOptions = AS_CONFIGURED,
    options: ImageOptions = AS_TRAINED,
) -> None:
    """Prints scores of a run's network and writes them into the run, with a picture of the confusion matrix.

    Of several runs the mean of the networks' probabilities is judged; it is only printed.

    Args:
        folders: of the runs; one at least.
        split: `train`, `validation` or `test`; None for `test`. With `data`, a folder below it.
        data: a folder with one folder of images a class; None for the run's own data.
        form: `table`, `json` or `markdown`.
        device: `auto`, `cpu` or `gpu`.
        console: where to print.
        verbose: let TensorFlow's messages through.
        wish: how the episodes of a few-shot run are to be.
        options: with `data`, how the images are read other than the run reads its own.

    Raises:
        UsageError: there is no run, no such split or no such folder, or the runs cannot be judged together.
        RunError: the run was cut short or is damaged. One that cannot be written to is evaluated all the same.
        DataError: the images cannot be read, or have other classes.
    """
    experiment = _checked(folders, split, data, wish, options, console)
    with console.working("starting TensorFlow"):
        import_tensorflow(verbose)
        from cnnctl.evaluate.ensemble import evaluated_together
        from cnnctl.evaluate.episode_evaluation import evaluated_episodes
        from cnnctl.evaluate.evaluation import evaluated
        from cnnctl.session.trained_run import open_trained
        from cnnctl.train.device import choose_device
    computes_on = choose_device(device)
    evaluation: EvaluationResult
    if len(folders) > 1:
        evaluation = evaluated_together(folders, split, data, console, options)
    elif experiment.few_shot:
        evaluation = evaluated_episodes(open_trained(folders[0]), wish, split, data, console, options)
    else:
        evaluation = evaluated(open_trained(folders[0]), split, data, console, options)
    console.say(f"device      {computes_on}")
    _show(evaluation, form, console)


def _checked(
    folders: Sequence[Path], split: str | None, data: str | None, wish: EpisodeOptions, options: ImageOptions, console: Console
) -> Experiment:
    """Returns the config of the first run, once all is refused that folders and configs speak against."""
    experiments = [config_of_run(folder, console) for folder in folders]
    if data is not None and not Path(data).is_dir():
        raise UsageError(f"--data {data}: there is no such folder; give one that has a folder of images for each class")
    if len(folders) > 1:
        check_compatible(folders, experiments, (split or "test") if data is None else None)
    wish.refuse_for(experiments[0])
    options.refuse_unusable()
    if data is None:
        options.refuse_for_own_data()
    return experiments[0]


def _show(evaluation: EvaluationResult, form: str, console: Console) -> None:
    if evaluation.root:
        console.say(f"data        {evaluation.root}")
    for note in evaluation.notes:
        console.say(f"note        {note}")
    for warning in evaluation.warnings:
        console.say(f"warning     {warning}")
    console.result(as_json(evaluation.as_plain()) if form == "json" else evaluation.text(form))
    try:
        lines = evaluation.keep(console)
    except RunError as error:  # another's run, perhaps; the scores are printed all the same
        lines = [f"not kept    {error}"]
    for line in lines:
        console.say(line)

"""`cnnctl evaluate`: evaluate trained networks on labelled images. TensorFlow starts after the folders are checked."""

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
    """The result of an evaluation: of classes, of episodes or of an ensemble."""

    @property
    def root(self) -> Path | None:
        """The folder of `--data`; None for the run's own data."""

    @property
    def notes(self) -> list[str]:
        """Notes on the images."""

    @property
    def warnings(self) -> list[str]:
        """Differences from the training images, each with the option that corrects it."""

    def as_plain(self) -> dict[str, Any]:
        """Convert to JSON types."""
        ...

    def text(self, form: str) -> str:
        """Format as `table` or `markdown`."""
        ...

    def keep(self, console: Console) -> list[str]:
        """Write the result of a single run into its folder. Return one line per file.

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
    episode_options: EpisodeOptions = AS_CONFIGURED,
    image_options: ImageOptions = AS_TRAINED,
) -> None:
    """Print the scores of a run's network and save them in the run, with a plot of the confusion matrix.

    Several runs are evaluated as an ensemble, the mean of their probabilities. Its scores are printed, not saved.

    Args:
        folders: run folders, at least one.
        split: `train`, `validation` or `test`; None for `test`. With `data`, a subfolder of it.
        data: a folder with one folder of images per class; None for the run's own data.
        form: `table`, `json` or `markdown`.
        device: `auto`, `cpu` or `gpu`.
        console: prints results and messages.
        verbose: show TensorFlow's log.
        episode_options: for few-shot runs, changes to the configured episodes.
        image_options: with `data`, changes to how the run reads images.

    Raises:
        UsageError: a run, split or folder does not exist, or the runs are incompatible.
        RunError: the run is incomplete or damaged. A read-only run can be evaluated.
        DataError: the images cannot be read, or have other classes.
    """
    experiment = _checked(folders, split, data, episode_options, image_options, console)
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
        evaluation = evaluated_together(folders, split, data, console, image_options)
    elif experiment.few_shot:
        evaluation = evaluated_episodes(open_trained(folders[0]), episode_options, split, data, console, image_options)
    else:
        evaluation = evaluated(open_trained(folders[0]), split, data, console, image_options)
    console.say(f"device      {computes_on}")
    _show(evaluation, form, console)


def _checked(
    folders: Sequence[Path],
    split: str | None,
    data: str | None,
    episode_options: EpisodeOptions,
    image_options: ImageOptions,
    console: Console,
) -> Experiment:
    """Check everything that needs no TensorFlow, and return the config of the first run."""
    experiments = [config_of_run(folder, console) for folder in folders]
    if data is not None and not Path(data).is_dir():
        raise UsageError(f"--data {data}: no such folder; expected a folder with one folder of images per class")
    if len(folders) > 1:
        check_compatible(folders, experiments, (split or "test") if data is None else None)
    episode_options.refuse_for(experiments[0])
    image_options.refuse_unusable()
    if data is None:
        image_options.refuse_for_own_data()
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
    except RunError as error:  # the run may be read-only; its scores are printed already
        lines = [f"not saved   {error}"]
    for line in lines:
        console.say(line)

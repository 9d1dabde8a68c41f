"""`cnnctl evaluate`: a trained network judged on images with labels; TensorFlow starts once the folders are there."""

from __future__ import annotations

from pathlib import Path

from cnnctl.commands.evaluate_episodes import AS_CONFIGURED, EpisodeWish, evaluate_episodes
from cnnctl.errors import RunError, UsageError
from cnnctl.report.console import Console
from cnnctl.runs import open_run_folder
from cnnctl.spec.load import load
from cnnctl.train.quiet import import_tensorflow


def evaluate(
    folder: Path,
    split: str | None,
    data: str | None,
    form: str,
    device: str,
    console: Console,
    verbose: bool,
    wish: EpisodeWish = AS_CONFIGURED,
) -> None:
    """Prints scores of a run's network and writes them into the run, with a picture of the confusion matrix.

    Args:
        folder: of the run.
        split: `train`, `validation` or `test`; None for `test`. With `data`, a folder below it.
        data: a folder with one folder of images a class; None for the run's own data.
        form: `table`, `json` or `markdown`.
        device: `auto`, `cpu` or `gpu`.
        console: where to print.
        verbose: let TensorFlow's messages through.
        wish: how the episodes of a few-shot run are to be.

    Raises:
        UsageError: there is no run, no such split or no such folder.
        RunError: the run was cut short or is damaged. One that cannot be written to is evaluated all the same.
        DataError: the images cannot be read, or have other classes.
    """
    experiment = load(open_run_folder(folder).config, look_at_data=False)
    if data is not None and not Path(data).is_dir():
        raise UsageError(f"--data {data}: there is no such folder; give one that has a folder of images for each class")
    if experiment.few_shot:
        evaluate_episodes(folder, experiment, wish, split, data, form, device, console, verbose)
        return
    wish.refuse_for_classification()
    with console.working("starting TensorFlow"):
        import_tensorflow(verbose)
        from cnnctl.commands.evaluation import evaluated, keep_evaluation
        from cnnctl.commands.trained import open_trained
        from cnnctl.report.evaluation import evaluation_markdown, evaluation_text
        from cnnctl.report.tables import as_json
        from cnnctl.train.device import choose_device
    computes_on = choose_device(device)
    evaluation = evaluated(open_trained(folder), split, data, console)
    console.say(f"device      {computes_on}")
    if evaluation.root:
        console.say(f"data        {evaluation.root}")
    for note in evaluation.notes:
        console.say(f"note        {note}")
    if form == "json":
        console.result(as_json(evaluation.as_plain()))
    else:
        draw = evaluation_markdown if form == "markdown" else evaluation_text
        console.result(draw(evaluation.scores, evaluation.subject))
    try:
        lines = keep_evaluation(evaluation, console)
    except RunError as error:  # another's run, perhaps; the scores are printed all the same
        lines = [f"not kept    {error}"]
    for line in lines:
        console.say(line)

"""`cnnctl one-shot`: run the Omniglot one-shot test on a trained network. TensorFlow starts after all images are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cnnctl.few_shot.challenge_tables import MAX_DRAWN, challenge_markdown, challenge_text
from cnnctl.few_shot.options import refuse_views
from cnnctl.files import refuse_output, write_whole
from cnnctl.report.console import Console
from cnnctl.report.tables import as_json
from cnnctl.report.text import printable
from cnnctl.session.run_files import config_of_run
from cnnctl.train.quiet import import_tensorflow

if TYPE_CHECKING:
    from cnnctl.few_shot.challenge import Outcome


def one_shot(
    folder: Path,
    challenge: Path,
    tta: int,
    picture: Path | None,
    form: str,
    device: str,
    console: Console,
    verbose: bool,
    tta_poses: bool = False,
) -> None:
    """Match each test image of the challenge with a training image, and print the error rate.

    Args:
        folder: the run folder.
        challenge: the folder with run01, run02 ... of the challenge.
        tta: augmented views per image, whose embeddings are averaged with its own.
        picture: PNG file for the mistakes, or None.
        form: `table`, `json` or `markdown`.
        device: `auto`, `cpu` or `gpu`.
        console: prints results and messages.
        verbose: show TensorFlow's log.
        tta_poses: compare images in every rotation and reflection that was a class of its own in training.

    Raises:
        UsageError: there is no run or no challenge, the network gives no embedding, all views would be equal,
            or the picture cannot be where it is wanted.
        RunError: the run is incomplete or damaged, or there is not enough memory.
        DataError: an image or a label of the challenge is missing or broken.
    """
    experiment = config_of_run(folder, console)
    refuse_views(experiment, tta, tta_poses)
    if picture is not None:
        refuse_output(picture, "--mistakes", ".png")
    with console.working("reading the challenge"):
        from cnnctl.few_shot.challenge_images import read_challenge

        runs = read_challenge(challenge, experiment.data)
    with console.working("starting TensorFlow"):
        import_tensorflow(verbose)
        from cnnctl.few_shot.challenge import matcher_of, run_challenge
        from cnnctl.few_shot.views import Views
        from cnnctl.session.trained_run import open_trained
        from cnnctl.train.device import choose_device
    computes_on = choose_device(device)
    few_shot = experiment.few_shot
    views = Views(tta, tta_poses and few_shot.rotations, tta_poses and few_shot.mirrors) if few_shot else Views(tta)
    matcher = matcher_of(open_trained(folder), views)
    with console.working("matching images"):
        outcome = run_challenge(matcher, runs)
    console.say(f"device     {computes_on}")
    _show(outcome, folder, challenge, form, console)
    if picture is not None:
        console.say(_drawn(outcome, picture))


def _show(outcome: Outcome, folder: Path, challenge: Path, form: str, console: Console) -> None:
    if form == "json":
        console.result(as_json({"run": str(folder), "challenge": str(challenge), **outcome.result.as_plain()}))
    else:
        console.result((challenge_markdown if form == "markdown" else challenge_text)(outcome.result))


def _drawn(outcome: Outcome, picture: Path) -> str:
    """Draw the mistakes and return a message about it."""
    from cnnctl.few_shot.challenge import mistakes_picture

    count = len(outcome.result.mistakes)
    if not count:
        return "mistakes   none, so no picture was drawn"
    write_whole(picture, mistakes_picture(outcome))
    of = f", the first {MAX_DRAWN} of {count:,}" if count > MAX_DRAWN else ""
    return f"mistakes   {printable(str(picture))}{of}"

"""What a training prints before it starts, and when it stops before its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cnnctl.errors import counted
from cnnctl.report.rows import summarize
from cnnctl.report.tables import show_macs
from cnnctl.run_folder import RunFolder, resume_command
from cnnctl.session.resume import NOTHING_WRITTEN
from cnnctl.spec.oddities import last_batch_warning
from cnnctl.train.stopping import REMEDIES, Diverged

if TYPE_CHECKING:
    from cnnctl.session.state import Session
    from cnnctl.train.checkpoint import Checkpoints


def introduction(session: Session) -> Iterator[str]:
    """Yield the lines about data, model, loss and loop that a training prints before it starts."""
    experiment, task = session.experiment, session.task
    summary = summarize(experiment)
    network = experiment.network
    size = f"{counted(len(network.nodes), 'layer')}, {counted(network.parameters, 'parameter')}"
    (_, data), *others = task.introduction()
    yield f"data    {data}"
    yield from (f"        {note}" for note in task.splits.notes)
    if warning := last_batch_warning(network.nodes, network.facts, task.examples, task.batch_size):
        yield f"        {warning}"
    yield f"model   {experiment.model.style}, {size}, {show_macs(summary)} MACs per image"
    yield from (f"{key:<7} {text}" for key, text in others)
    yield f"loop    {experiment.train.loop}, {session.settings}, on {session.device}"
    if session.workers.replicas:
        count = counted(len(session.workers.replicas), "replica")
        yield f"        {count} share each batch of {counted(task.batch_size, 'image')}"
    yield from (f"        {reason}" for reason in session.settings.reasons)
    if experiment.plain_from < experiment.train.epochs:
        yield f"        without augmentation from epoch {experiment.plain_from + 1} on (data.augment.plain_epochs)"


def done_of(checkpoints: Checkpoints, epochs: int, steps_per_epoch: int) -> str:
    """Describe what is saved, such as `2 of 12 epochs and 30 of 422 steps of the next`; empty if nothing is.

    A training may stop after the last step of an epoch and before its validation is saved.
    """
    partial = checkpoints.partial_epoch
    if not (checkpoints.rows or partial):
        return ""
    ended = f"{len(checkpoints.rows)} of {counted(epochs, 'epoch')}"
    if partial is None:
        return ended
    if partial.steps_in_epoch == steps_per_epoch:
        return f"{ended} and all {counted(steps_per_epoch, 'step')} of the next (not validated yet)"
    return f"{ended} and {partial.steps_in_epoch} of {counted(steps_per_epoch, 'step')} of the next"


def interrupted(run: RunFolder, done: str, of_workers: bool = False) -> str:
    """Describe how a signal ended a training.

    Args:
        run: its folder.
        done: what is saved, from `done_of`.
        of_workers: several workers trained.
    """
    if run.result.exists():
        return f"interrupted, but {run.path} has finished; its results are in {run.result}"
    if not run.config.exists():
        return NOTHING_WRITTEN
    saved = _saved(done) if done else "nothing was trained yet"
    where = ", in all workers" if of_workers else ""
    return f"interrupted; {saved}. Resume with{where}: {resume_command(run)}"


def diverged(run: RunFolder, done: str, error: Diverged, steps_per_epoch: int, first: str) -> str:
    """Describe a non-finite loss.

    Args:
        run: its folder.
        done: what is saved, from `done_of`.
        error: the step and the loss.
        steps_per_epoch: batches per epoch.
        first: the layer where it began.
    """
    epoch, before = divmod(error.step - 1, steps_per_epoch)
    where = f"step {error.step} (step {before + 1} of epoch {epoch + 1})"
    saved = f", and {_saved(done)} in {run.checkpoints}" if done else ""
    return f"the loss became {error.loss} at {where}; {first}. That step changed no trained weight{saved}; {REMEDIES}"


def _saved(done: str) -> str:
    return f"{done} {'is' if done == '1 of 1 epoch' else 'are'} saved"

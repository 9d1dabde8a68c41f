"""What to say of a training that is cut short: how far it came, and how to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnctl.errors import counted
from cnnctl.run_folder import RunFolder
from cnnctl.session.resume import BEFORE
from cnnctl.session.trained_run import resume_command
from cnnctl.train.stopping import REMEDIES, Diverged

if TYPE_CHECKING:
    from cnnctl.train.checkpoint import Checkpoints


def done_of(checkpoints: Checkpoints, epochs: int, steps_per_epoch: int) -> str:
    """Returns what is saved: `2 of 12 epochs and 30 of 422 steps of the next`; empty where nothing is."""
    begun = checkpoints.begun
    if not (checkpoints.rows or begun):
        return ""
    ended = f"{len(checkpoints.rows)} of {counted(epochs, 'epoch')}"
    return f"{ended} and {begun.steps_in_epoch} of {counted(steps_per_epoch, 'step')} of the next" if begun else ended


def interrupted(run: RunFolder, done: str, of_workers: bool = False) -> str:
    """Returns what to say when a signal has ended a training; `done` is what is saved, `of_workers` whether several trained."""
    if run.result.exists():
        return f"interrupted, but {run.path} has finished; its results are in {run.result}"
    if not run.config.exists():
        return BEFORE
    saved = _saved(done) if done else "nothing was trained yet"
    where = ", in all workers" if of_workers else ""
    return f"interrupted; {saved}. Go on with{where}: {resume_command(run)}"


def diverged(run: RunFolder, done: str, error: Diverged, steps_per_epoch: int, first: str) -> str:
    """Returns what to say of a loss that is no number: at which step, since which layer (`first`), and what is saved."""
    epoch, before = divmod(error.step - 1, steps_per_epoch)
    where = f"step {error.step} (step {before + 1} of epoch {epoch + 1})"
    saved = f", and {_saved(done)} in {run.checkpoints}" if done else ""
    return f"the loss became {error.loss} at {where}; {first}. That step changed no trained weight{saved}; {REMEDIES}"


def _saved(done: str) -> str:
    return f"{done} {'is' if done == '1 of 1 epoch' else 'are'} saved"

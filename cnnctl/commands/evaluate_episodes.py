"""`cnnctl evaluate` for runs of few-shot tasks: accuracy over episodes; TensorFlow starts once the folders are there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from cnnctl.errors import RunError, UsageError
from cnnctl.report.console import Console
from cnnctl.spec.experiment import Augment, Experiment, FewShotSpec, Maml
from cnnctl.train.quiet import import_tensorflow


@dataclass(frozen=True)
class EpisodeWish:
    """What the user wants episodes to be; None for what the run's config says.

    Attributes:
        way: classes of an episode.
        shot: labelled images a class.
        query: images a class to be classified.
        episodes: how many.
        copies: augmented copies of each image to average over; None for none.
        turns: compare images in every turn that was a class of its own in training.
    """

    way: int | None = None
    shot: int | None = None
    query: int | None = None
    episodes: int | None = None
    copies: int | None = None
    turns: bool = False

    def refuse_for_classification(self) -> None:
        """Raises UsageError where the user wants anything of episodes."""
        said = [name for name, value in asdict(self).items() if value not in (None, False)]
        if said:
            raise UsageError(f"--{said[0]} is for runs of few-shot tasks, and this run tells classes apart; leave it out")

    def applied(self, few_shot: FewShotSpec) -> FewShotSpec:
        """Returns the section of a config with what is wanted otherwise."""
        wanted = {"way": self.way, "shot": self.shot, "query": self.query, "test_episodes": self.episodes}
        return few_shot.model_copy(update={name: value for name, value in wanted.items() if value is not None})


AS_CONFIGURED = EpisodeWish()


def evaluate_episodes(
    folder: Path,
    experiment: Experiment,
    wish: EpisodeWish,
    split: str | None,
    data: str | None,
    form: str,
    device: str,
    console: Console,
    verbose: bool,
) -> None:
    """Prints how a run's learner does on episodes and writes it into the run; arguments as those of `evaluate`.

    Raises:
        UsageError: the learner cannot do what is wanted, or there is no such split or folder.
        DataError: the images cannot be read, or episodes of that size cannot be drawn.
        RunError: the run was cut short or is damaged.
    """
    _refuse(experiment, wish)
    with console.working("starting TensorFlow"):
        import_tensorflow(verbose)
        from cnnctl.commands.episode_evaluation import evaluated_episodes, keep_episodes
        from cnnctl.commands.trained import open_trained
        from cnnctl.report.episodes import episodes_markdown, episodes_text
        from cnnctl.report.tables import as_json
        from cnnctl.train.device import choose_device
    computes_on = choose_device(device)
    evaluation = evaluated_episodes(open_trained(folder), wish, split, data, console)
    console.say(f"device      {computes_on}")
    for note in evaluation.notes:
        console.say(f"note        {note}")
    if form == "json":
        console.result(as_json(evaluation.as_plain()))
    else:
        console.result((episodes_markdown if form == "markdown" else episodes_text)(evaluation.result))
    try:
        console.say(keep_episodes(evaluation))
    except RunError as error:  # another's run, perhaps; the result is printed all the same
        console.say(f"not kept    {error}")


def _refuse(experiment: Experiment, wish: EpisodeWish) -> None:
    few_shot = experiment.few_shot
    assert few_shot
    if isinstance(few_shot.learner, Maml) and wish.way not in (None, few_shot.way):
        raise UsageError(f"--way {wish.way}: this network of maml has {few_shot.way} outputs and does {few_shot.way}-way only")
    refuse_views(experiment, wish.copies or 0, wish.turns)


def refuse_views(experiment: Experiment, copies: int, turns: bool) -> None:
    """Raises UsageError where a run cannot look at images in these ways.

    Args:
        experiment: of the run.
        copies: augmented copies of each image.
        turns: whether images are compared in the turns that were classes of their own in training.
    """
    few_shot = experiment.few_shot
    if few_shot and isinstance(few_shot.learner, Maml) and (copies or turns):
        option = f"--copies {copies}" if copies else "--turns"
        raise UsageError(f"{option}: maml adapts weights and has no vectors to be averaged; leave it out")
    if turns and not (few_shot and (few_shot.rotations or few_shot.mirrors)):
        raise UsageError(
            "--turns: the run did not learn turned images as classes of their own (few_shot.rotations, few_shot.mirrors)"
        )
    if copies and experiment.data.augment in (None, Augment()):
        raise UsageError(f"--copies {copies}: the run's config has no data.augment that could change them; leave --copies out")

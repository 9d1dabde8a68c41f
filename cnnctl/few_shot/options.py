"""What a user may want of episodes and of the looks at an image, and what a run cannot do; no TensorFlow."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cnnctl.errors import UsageError
from cnnctl.spec.dataset import Augment
from cnnctl.spec.experiment import Experiment, FewShotSpec, Maml


@dataclass(frozen=True)
class EpisodeOptions:
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

    def refuse_for(self, experiment: Experiment) -> None:
        """Raises UsageError where a run cannot do what is wanted."""
        if experiment.few_shot is None:
            self._refuse_for_classification()
            return
        few_shot = experiment.few_shot
        if isinstance(few_shot.learner, Maml) and self.way not in (None, few_shot.way):
            raise UsageError(
                f"--way {self.way}: this network of maml has {few_shot.way} outputs and does {few_shot.way}-way only"
            )
        refuse_views(experiment, self.copies or 0, self.turns)

    def _refuse_for_classification(self) -> None:
        said = [name for name, value in asdict(self).items() if value not in (None, False)]
        if said:
            raise UsageError(f"--{said[0]} is for runs of few-shot tasks, and this run tells classes apart; leave it out")

    def applied(self, few_shot: FewShotSpec) -> FewShotSpec:
        """Returns the section of a config with what is wanted otherwise."""
        wanted = {"way": self.way, "shot": self.shot, "query": self.query, "test_episodes": self.episodes}
        return few_shot.model_copy(update={name: value for name, value in wanted.items() if value is not None})


AS_CONFIGURED = EpisodeOptions()


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

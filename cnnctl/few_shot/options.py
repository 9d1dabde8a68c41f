"""Command-line options for episodes and test-time augmentation, and the checks against a run's config. Without TensorFlow."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cnnctl.errors import UsageError
from cnnctl.spec.experiment import Experiment, FewShotSpec, Maml


@dataclass(frozen=True)
class EpisodeOptions:
    """Options for the episodes of an evaluation; None leaves the value of the run's config.

    Attributes:
        way: classes per episode.
        shot: labelled images per class.
        query: images to classify per class.
        episodes: number of episodes.
        tta: augmented views to average per image (test-time augmentation); None for none.
        tta_poses: compare images in every rotation and reflection that was a class of its own in training.
    """

    way: int | None = None
    shot: int | None = None
    query: int | None = None
    episodes: int | None = None
    tta: int | None = None
    tta_poses: bool = False

    def refuse_for(self, experiment: Experiment) -> None:
        """Raise UsageError for an option that does not fit the run's config."""
        if experiment.few_shot is None:
            self._refuse_for_classification()
            return
        few_shot = experiment.few_shot
        if isinstance(few_shot.method, Maml) and self.way not in (None, few_shot.way):
            raise UsageError(
                f"--way {self.way}: this maml network has {few_shot.way} outputs and classifies {few_shot.way}-way episodes only"
            )
        refuse_views(experiment, self.tta or 0, self.tta_poses)

    def _refuse_for_classification(self) -> None:
        given = [name for name, value in asdict(self).items() if value not in (None, False)]
        if given:
            option = given[0].replace("_", "-")
            raise UsageError(f"--{option} is for few-shot tasks, and this is a classification run; remove the option")

    def applied(self, few_shot: FewShotSpec) -> FewShotSpec:
        """Return the `few_shot` section with the given options in place of its values."""
        given = {"way": self.way, "shot": self.shot, "query": self.query, "test_episodes": self.episodes}
        return few_shot.model_copy(update={name: value for name, value in given.items() if value is not None})


AS_CONFIGURED = EpisodeOptions()


def refuse_views(experiment: Experiment, tta: int, tta_poses: bool) -> None:
    """Raise UsageError for test-time augmentation that a run cannot use.

    Args:
        experiment: config of the run.
        tta: augmented views per image.
        tta_poses: whether to compare images in the poses that were classes of their own in training.
    """
    few_shot = experiment.few_shot
    if few_shot and isinstance(few_shot.method, Maml) and (tta or tta_poses):
        option = f"--tta {tta}" if tta else "--tta-poses"
        raise UsageError(f"{option}: maml adapts weights and has no embeddings to average; remove the option")
    if tta_poses and not (few_shot and (few_shot.rotations or few_shot.mirrors)):
        raise UsageError(
            "--tta-poses: the run was not trained with rotated or mirrored images as classes of their own "
            "(few_shot.rotations, few_shot.mirrors); remove the option"
        )
    augment = experiment.data.augment
    if tta and not (augment and augment.transforms):
        raise UsageError(f"--tta {tta}: the run's config has no data.augment, so every view would be equal; remove the option")

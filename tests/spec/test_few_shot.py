"""`task: few_shot` in a config: what goes together, what does not and where that stands, and the network that is built."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cnnctl.errors import ConfigError, UsageError
from cnnctl.spec.document import parse
from cnnctl.spec.experiment import Classifier, Experiment, FewShotSpec, Maml, Prototypical
from cnnctl.spec.few_shot import HEAD, refuse_few_shot, with_head
from cnnctl.spec.layers import Dense
from cnnctl.spec.load import check, load
from cnnctl.spec.schema import json_schema

VALIDATOR = Draft202012Validator(json_schema())
STACK = "model: {layers: [flatten]}\n"
HEADED = "model: {layers: [flatten, dense: {units: classes}]}\n"
DIGITS = "data: {source: digits}\n"


@pytest.fixture(autouse=True)
def _no_prepared_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", "no-such-folder")


def checked(text: str) -> Experiment:
    return check(parse(text, "x.yaml"))


def few_shot(section: str = "", data: str = "source: digits", layers: str = "flatten", train: str = "") -> str:
    """Returns a config whose sections are each on a line of their own."""
    return (
        "task: few_shot\n"
        f"data: {{{data}}}\n"
        f"few_shot: {{{section}}}\n"
        f"model: {{style: functional, layers: [{layers}]}}\n"
        f"train: {{{train}}}\n"
    )


def printed(text: str) -> list[str]:
    """Returns all problems of a config, `line:column  path: message`."""
    with pytest.raises(ConfigError, match=r"x\.yaml:") as caught:
        checked(text)
    return [line.removeprefix("x.yaml:") for line in str(caught.value).splitlines()]


# what a config says


def test_a_task_without_its_section_takes_every_default() -> None:
    for text in ("task: few_shot\n", "task: few_shot\nfew_shot:\n", "task: few_shot\nfew_shot: {}\n"):
        experiment = checked(text + DIGITS + STACK)
        assert experiment.few_shot == FewShotSpec()
    assert experiment.few_shot
    assert experiment.few_shot.model_dump() == {
        "learner": {"prototypical": {"distance": "squared_euclid"}},
        **{"way": 5, "shot": 1, "query": 5, "train_way": None, "train_shot": None, "train_query": None},
        **{"episodes": None, "episodes_per_step": None, "validation_episodes": 1000, "test_episodes": 1000},
        **{"rotations": False, "mirrors": False},
    }


def test_a_config_without_a_task_is_a_classification() -> None:
    experiment = checked(DIGITS + HEADED)
    assert (experiment.task, experiment.few_shot, experiment.data.hold_out) == ("classification", None, "image")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("prototypical", Prototypical(distance="squared_euclid")),
        ("maml", Maml(inner_steps=1, inner_learning_rate=0.4, first_order=False, test_steps=None)),
        ("classifier", Classifier(scale=16.0)),
    ],
)
def test_the_bare_name_of_a_learner_takes_every_default(name: str, expected: Any) -> None:
    for learner in (name, f"{{{name}: {{}}}}", f"{{{name}: }}"):
        experiment = checked(few_shot(f"learner: {learner}"))
        assert experiment.few_shot and experiment.few_shot.learner == expected


@pytest.mark.parametrize(("said", "expected"), [("", "class"), (", hold_out: null", "class"), (", hold_out: class", "class")])
def test_whole_classes_are_held_out_where_the_config_does_not_say(said: str, expected: str) -> None:
    assert checked(few_shot(data=f"source: digits{said}")).data.hold_out == expected


def test_groups_are_held_out_where_the_config_says_so() -> None:
    data = checked(few_shot(data="source: tfds, name: omniglot, hold_out: group, group: alphabet, validation: [Greek]")).data
    assert (data.hold_out, data.group, data.validation, data.test) == ("group", "alphabet", ("Greek",), "test")


def test_the_section_is_overridden_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(few_shot("way: 5"))
    experiment = load(file, ["few_shot.way=3", "few_shot.learner.maml.inner_steps=2", "data.test=['8', '9']"])
    assert experiment.few_shot and experiment.few_shot.way == 3
    assert experiment.few_shot.learner == Maml(inner_steps=2)
    assert experiment.data.test == ("8", "9")
    with pytest.raises(ConfigError, match=r"--set few_shot\.way=1  few_shot\.way: expected a number of at least 2"):
        load(file, ["few_shot.way=1"])


def test_a_classification_becomes_a_few_shot_task_by_an_override_alone(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(DIGITS + STACK)
    experiment = load(file, ["task=few_shot"])
    assert (experiment.few_shot, experiment.data.hold_out) == (FewShotSpec(), "class")


# what does not go together

MAML, CLASSIFIER, PROTOTYPICAL = "learner: maml", "learner: classifier", "learner: prototypical"
BY_EPISODES = "is for training by episodes, but classifier trains on batches of images (train.batch_size); remove it"

WRONG: list[tuple[str, list[str]]] = [
    (
        few_shot(data="source: digits, hold_out: image"),
        ["2:24  data.hold_out: few-shot tasks are evaluated on classes not in training; write hold_out: class, or remove it"],
    ),
    (
        few_shot(data="source: digits, labels: one_hot"),
        ["2:24  data.labels: few-shot methods number the classes of each episode themselves; remove labels"],
    ),
    (
        few_shot(data="source: digits, classes: 10, remap_labels: true"),
        ["2:37  data.remap_labels: few-shot tasks have no output per class, so there is nothing to remap; remove it"],
    ),
    (
        few_shot(data="source: tfds, name: omniglot, validation: null, test: test, hold_out: group, group: alphabet"),
        ["2:68  data.hold_out: validation and test are splits, so nothing is held out of train; remove hold_out"],
    ),
    (
        few_shot(data="source: digits, shared_classes: drop"),
        ["2:24  data.shared_classes: validation and test are held out of train and share no class with it; remove it"],
    ),
    (
        few_shot("mirrors: true", data="source: digits, augment: {flip: true}"),
        [
            "2:34  data.augment.flip: few_shot.mirrors makes mirrored images additional classes; remove it, or remove few_shot.mirrors"
        ],
    ),
    (
        few_shot("rotations: true", data="source: digits, augment: {rotation: 45}"),
        [
            "2:34  data.augment.rotation: images rotated by 45 degrees look like those of the class rotated by 90 "
            "(few_shot.rotations); write rotation: 44, or less"
        ],
    ),
    *(
        (
            few_shot(MAML, layers=f"flatten, dense: {{units: 4, {regularizer}: l2}}"),
            [f"4:64  model.layers[1].dense.{regularizer}: the loss of a maml episode has no penalties; remove it"],
        )
        for regularizer in ("kernel_regularizer", "bias_regularizer", "activity_regularizer")
    ),
    (
        few_shot(MAML, train="optimizer: {sgd: {loss_scale_factor: 2.0}}"),
        ["5:27  train.optimizer.sgd.loss_scale_factor: maml does not scale its loss; remove it"],
    ),
    *(
        (few_shot(f"{CLASSIFIER}, {field}: 2"), [f"3:33  few_shot.{field}: {BY_EPISODES}"])
        for field in ("train_way", "train_shot", "train_query", "episodes", "episodes_per_step")
    ),
    (
        few_shot(f"{MAML}, way: 2, train_way: 3"),
        [
            "3:35  few_shot.train_way: maml has one output for each of the 2 classes of an episode, in training too; "
            "remove train_way"
        ],
    ),
    (
        few_shot("rotations: true", data="source: digits, image_size: [8, 9]"),
        [
            "3:12  few_shot.rotations: images of 8×9 cannot be rotated by 90 degrees; remove rotations, or "
            "set a square data.image_size"
        ],
    ),
    (
        few_shot(train="loop: fit"),
        ["5:9  train.loop: few-shot methods train by the custom loop; write loop: custom, or remove loop"],
    ),
    *(
        (
            few_shot(f"learner: {learner}", train="loss: sparse_categorical_crossentropy"),
            ["5:9  train.loss: few-shot methods have their own loss, cross-entropy over the classes of an episode; remove it"],
        )
        for learner in ("prototypical", "maml", "classifier")
    ),
    *(
        (
            few_shot(MAML, train=f"precision: {precision}"),
            [
                "5:9  train.precision: second derivatives lose too much precision in 16 bits, so maml trains in float32; remove precision"
            ],
        )
        for precision in ("mixed_bfloat16", "mixed_float16")
    ),
    (
        few_shot(layers="conv2d: {filters: 4, kernel_size: 3}"),
        [
            "4:37  model.layers[0].conv2d: an embedding is a vector, but the network outputs (6, 6, 4) per image; "
            "flatten or pool globally"
        ],
    ),
    *(
        (
            few_shot(f"learner: {learner}", layers=f"flatten, dense: {{units: classes}}{more}"),
            [
                "4:54  model.layers[1].dense.units: the classes of a few-shot task differ between episodes; "
                "write units: 64, or another number"
            ],
        )
        for learner in ("prototypical", "maml", "classifier")
        for more in ("", ", dense: {units: 4}")
    ),
    (
        few_shot(MAML, layers="flatten, dropout: {rate: 0.5}"),
        [
            "4:46  model.layers[1].dropout: maml adapts on a few images in training mode, so dropout would act "
            "in tests too; remove it"
        ],
    ),
    (
        few_shot(MAML, layers="flatten: {name: maml_head}"),
        ["4:37  model.layers[0].flatten: maml adds its own layer 'maml_head'; write name: embedding, or another name"],
    ),
    (  # a classification
        "data: {source: digits, hold_out: class}\n" + HEADED,
        [
            "1:24  data.hold_out: holds whole classes out of training, so validation and test would have classes that "
            "a classifier never learns; write task: few_shot at the top, or remove hold_out"
        ],
    ),
    (
        "data: {source: tfds, name: omniglot, hold_out: group, group: alphabet}\n" + HEADED,
        [
            "1:38  data.hold_out: holds whole classes out of training, so validation and test would have classes that "
            "a classifier never learns; write task: few_shot at the top, or remove hold_out"
        ],
    ),
    *(
        (
            f"data: {{source: digits, {role}: ['8']}}\n" + HEADED,
            [
                f"1:24  data.{role}: a list holds whole classes out of training, so validation and test would have "
                f"classes that a classifier never learns; write task: few_shot at the top, or write {role}: 0.1"
            ],
        )
        for role in ("validation", "test")
    ),
    (
        "data: {source: digits, shared_classes: drop}\n" + HEADED,
        [
            "1:24  data.shared_classes: a classifier is evaluated on the classes that it learns; write task: few_shot "
            "at the top, or remove it"
        ],
    ),
    (
        DIGITS + "few_shot: {way: 5}\n" + HEADED,
        ["2:1  few_shot: requires task: few_shot; write task: few_shot at the top, or remove the section"],
    ),
    (
        "task: classification\n" + DIGITS + "few_shot: {}\n" + HEADED,
        ["3:1  few_shot: requires task: few_shot; write task: few_shot at the top, or remove the section"],
    ),
]


@pytest.mark.parametrize(("text", "problems"), WRONG, ids=lambda value: value[0].split()[1] if isinstance(value, list) else "")
def test_what_does_not_go_together_is_told_with_its_place(text: str, problems: list[str]) -> None:
    assert printed(text) == problems


def test_every_complaint_is_told_at_once_in_the_order_of_the_file() -> None:
    text = few_shot(
        f"{MAML}, way: 2, train_way: 3, rotations: true",
        data="source: digits, image_size: [8, 9], hold_out: image, labels: one_hot",
        layers="dropout: {rate: 0.5}, conv2d: {name: maml_head, filters: 2, kernel_size: 3}",
        train="loop: fit, loss: categorical_crossentropy, precision: mixed_float16",
    )
    assert [problem.split(": ")[0].split("  ")[1] for problem in printed(text)] == [
        "data.hold_out",
        "data.labels",
        "few_shot.train_way",
        "few_shot.rotations",
        "model.layers[0].dropout",
        "model.layers[1].conv2d",  # gives images
        "model.layers[1].conv2d",  # has maml's name
        "train.loop",
        "train.loss",
        "train.precision",
    ]


@pytest.mark.parametrize(
    "text",
    [
        few_shot(f"{PROTOTYPICAL}, way: 2, train_way: 3, train_shot: 2, train_query: 1, episodes: 4, episodes_per_step: 2"),
        few_shot(f"{MAML}, way: 3, train_way: 3, train_shot: 2, train_query: 1, episodes: 4, episodes_per_step: 2"),
        few_shot(CLASSIFIER, layers="flatten, dropout: {rate: 0.5}", train="precision: mixed_bfloat16"),
        few_shot(PROTOTYPICAL, layers="flatten: {name: maml_head}, dropout: {rate: 0.5}", train="precision: mixed_float16"),
        few_shot("mirrors: true", data="source: digits, image_size: [8, 9]"),
        few_shot("rotations: true, mirrors: true", data="source: digits, augment: {rotation: 44.9}"),
        few_shot("rotations: true", data="source: digits, augment: {flip: true}"),
        few_shot("mirrors: true", data="source: digits, augment: {rotation: 90}"),
        few_shot(
            PROTOTYPICAL,
            layers="flatten, dense: {units: 4, kernel_regularizer: l2}",
            train="optimizer: {sgd: {loss_scale_factor: 2.0}}",
        ),
        few_shot(layers="flatten, dense: {units: 7, activation: relu}", train="loop: custom, loss: null"),
        few_shot(MAML, layers="repeat: {times: 2, layers: [flatten: {name: maml_head}]}"),  # maml_head_1 and maml_head_2
        few_shot(data="source: digits, validation: null, test: ['8'], shared_classes: refuse, remap_labels: false"),
        few_shot(data="source: digits, validation: ['7'], test: 0.2, labels: integer, split_seed: 4"),
        few_shot(data="source: tfds, name: omniglot, train: small1, test: small2, shared_classes: drop"),
        "task: classification\nfew_shot: null\n" + DIGITS + HEADED,
        "data: {source: digits, hold_out: image, shared_classes: refuse}\n" + HEADED,
    ],
)
def test_what_goes_together_is_taken_by_loader_and_schema(text: str) -> None:
    checked(text)
    VALIDATOR.validate(parse(text, "x.yaml").content)


@pytest.mark.parametrize("field", sorted(FewShotSpec.model_fields))
def test_loader_and_schema_refuse_a_wrong_value_of_every_field(field: str) -> None:
    for value in ("0.5", "[]", "maybe", "-1"):
        text = few_shot(f"{field}: {value}")
        assert re.match(rf"3:12  few_shot\.{field}: ", printed(text)[0])
        assert not VALIDATOR.is_valid(parse(text, "x.yaml").content)


@pytest.mark.parametrize(
    "learner",
    [
        "prototypes",
        "{prototypical: {distance: euclid}}",
        "{maml: {inner_steps: 0}}",
        "{maml: {inner_learning_rate: 0}}",
        "{maml: {test_steps: 1.5}}",
        "{maml: {scale: 3}}",
        "{classifier: {scale: 0}}",
        "{classifier: {}, maml: {}}",
        "null",
    ],
)
def test_loader_and_schema_refuse_the_same_learners(learner: str) -> None:
    text = few_shot(f"learner: {learner}")
    assert printed(text)[0].split("  ")[1].startswith("few_shot.learner")
    assert not VALIDATOR.is_valid(parse(text, "x.yaml").content)


def test_a_typo_elsewhere_does_not_make_a_few_shot_stack_end_before_its_classes() -> None:
    assert printed(few_shot(train="epoch: 3")) == ["5:9  train: unknown field 'epoch'; did you mean 'epochs'?"]


def test_a_section_without_its_task_hides_no_other_error_and_brings_no_false_one() -> None:
    assert printed(DIGITS + "few_shot: {ways: 5}\n" + STACK + "train: {epoch: 3}\n") == [
        "2:12  few_shot: unknown field 'ways'; did you mean 'way'?",
        "4:9  train: unknown field 'epoch'; did you mean 'epochs'?",
    ]
    assert printed(DIGITS + "few_shot: {way: 5}\n" + STACK) == [
        "2:1  few_shot: requires task: few_shot; write task: few_shot at the top, or remove the section"
    ]


def test_a_misspelt_task_with_its_section_is_told_with_a_suggestion() -> None:
    message = "1:1  task: expected 'classification' or 'few_shot', received 'fewshot'; did you mean 'few_shot'?"
    assert printed("task: fewshot\n" + DIGITS + "few_shot: {way: 5}\n" + STACK) == [message]


def test_a_layer_of_a_repeat_is_complained_of_once() -> None:
    problems = printed(few_shot(layers="flatten, repeat: {times: 3, layers: [dense: {units: classes}]}"))
    assert [problem.split(": ")[0] for problem in problems] == ["4:82  model.layers[1].repeat.layers[0].dense.units"]


def test_a_stack_that_does_not_fit_is_told_for_few_shot_tasks_too() -> None:
    problems = printed(few_shot(layers="conv2d: {filters: 1, kernel_size: 9}, flatten"))
    assert problems[0].startswith("4:37  model.layers[0].conv2d: ")
    assert "needs 9 pixels of height but receives 8" in problems[0]


# the network that is built


@pytest.mark.parametrize("learner", ["prototypical", "classifier"])
def test_the_with_head_other_learners_is_the_stack_itself(learner: str) -> None:
    experiment = checked(few_shot(f"learner: {learner}"))
    assert with_head(experiment) is experiment


def test_the_with_head_a_classification_is_the_stack_itself() -> None:
    experiment = checked(DIGITS + HEADED)
    assert with_head(experiment) is experiment


def test_the_with_head_maml_ends_with_an_output_for_each_class_of_an_episode() -> None:
    experiment = checked(few_shot(f"{MAML}, way: 3", layers="flatten, dense: {units: 7}"))
    network = with_head(experiment)
    assert network.model.layers == [*experiment.model.layers, Dense(units=3, name=HEAD)]
    assert len(experiment.model.layers) == 2, "the config itself stays as it is"
    assert network.model_copy(update={"model": experiment.model}) == experiment


def test_shapes_and_parameters_are_of_the_network_that_is_built() -> None:
    network = checked(few_shot(f"{MAML}, way: 3", layers="flatten, dense: {units: 7}")).network
    nodes, facts = network.nodes, network.facts
    assert [node.name for node in nodes] == ["flatten", "dense", HEAD]
    assert facts[-1].output_shape == (3,)
    assert facts[-1].parameters == 7 * 3 + 3


# commands that are for classification alone


def test_a_few_shot_task_is_refused_with_what_to_do_instead() -> None:
    message = r"^cnnctl predict is for classification, and this is a few-shot task; take cnnctl evaluate$"
    with pytest.raises(UsageError, match=message):
        refuse_few_shot(checked(few_shot()), "predict", "take cnnctl evaluate")


def test_a_classification_is_not_refused() -> None:
    refuse_few_shot(checked(DIGITS + HEADED), "predict", "take cnnctl evaluate")

"""Layers of one's own: which files are taken, what a config may say of them, what they compute, and what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from jsonschema import Draft202012Validator

from cnnctl.errors import ConfigError, UsageError
from cnnctl.model.custom_calls import check_custom_layers
from cnnctl.model.custom_class import MODULE
from cnnctl.model.custom_layers import snake_case
from cnnctl.model.styles import STYLES, build_model
from cnnctl.report.rows import as_plain, summarize
from cnnctl.report.tables import totals
from cnnctl.spec.document import parse
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers import STACK_ITEM
from cnnctl.spec.layers.custom import loaded, use
from cnnctl.spec.load import check
from cnnctl.spec.receptive import receptive_fields
from cnnctl.spec.reference import fields_below
from cnnctl.spec.schema import json_schema
from tests.custom import use_layers

HEAD = "import keras\nfrom keras import ops\nfrom typing import Literal, Optional\n\n\n"
REGISTER = "@keras.saving.register_keras_serializable()\n"
SCALE = '''
class LearnedScale(keras.layers.Layer):
    """Multiplies each channel by a trained number.

    Args:
        start: the first value of
            the numbers.
    """

    def __init__(self, start: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer=keras.initializers.Constant(self.start), name="scale")

    def call(self, inputs):
        return inputs * self.scale

    def compute_output_shape(self, input_shape):
        return input_shape
'''

Use = Callable[..., Path]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Returns a function that writes classes to own.py, in the current folder, and adds the layers of the file to the vocabulary."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, head: str = HEAD + REGISTER) -> Path:
        Path("own.py").write_text(head + dedent(text).lstrip("\n"))
        use_layers(Path("own.py"))
        return Path("own.py")

    return write


def experiment(*layers: Any, style: str = "functional", **sections: Any) -> Experiment:
    content = {
        "data": {"source": "digits"},
        "model": {"style": style, "layers": [*layers, "flatten", {"dense": {"units": "classes"}}]},
        **sections,
    }
    return check(parse(json.dumps(content), "config.yaml"))


def layer(body: str, name: str = "Odd", arguments: str = "**kwargs") -> str:
    """Returns a layer whose methods are in `body`, with an `__init__` that keeps its arguments."""
    names = [each.partition(":")[0].strip() for each in arguments.split(", ") if ":" in each]
    made = "".join(f"        self.{each} = {each}\n" for each in names)
    start = (
        f"class {name}(keras.layers.Layer):\n    def __init__(self, {arguments}):\n        super().__init__(**kwargs)\n{made}\n"
    )
    return start + indent(dedent(body).strip("\n"), "    ") + "\n"


SAME = """
def call(self, inputs):
    return inputs

def compute_output_shape(self, input_shape):
    return input_shape
"""


def refused(act: Callable[[], Any]) -> str:
    with pytest.raises(UsageError) as caught:
        act()
    assert caught.value.exit_code == 2
    return str(caught.value)


# names, fields, schema


@pytest.mark.parametrize(
    "name", ["Conv2D", "PReLU", "LearnedScale", "SqueezeExcitation", "Scale", "MLPBlock", "A1", "Abc12DefG"]
)
def test_a_layer_is_named_as_keras_names_it(name: str) -> None:
    made = type(name, (keras.layers.Layer,), {})()
    assert made.name.rstrip("0123456789").rstrip("_") == snake_case(name).rstrip("0123456789")
    assert made.name.startswith(snake_case(name))


def test_a_class_becomes_a_layer_with_its_arguments_and_their_descriptions(own: Use) -> None:
    own(SCALE)
    (start,) = (field for field in fields_below("model.layers.learned_scale") if field.path.endswith("start"))
    assert (start.type, start.default, start.meaning) == ("number", "1.0", "The first value of the numbers.")
    node = experiment({"learned_scale": {"start": 3, "name": "mine"}}).network.nodes[0]
    assert (node.name, node.layer.kind, node.layer.start) == ("mine", "learned_scale", 3.0)  # type: ignore[attr-defined]


def test_without_the_file_nothing_of_it_is_left(own: Use) -> None:
    before = dict(STACK_ITEM.choices)
    own(SCALE)
    assert "learned_scale" in STACK_ITEM.choices
    use(None)
    assert STACK_ITEM.choices == before | {}
    assert loaded() is None
    with pytest.raises(ConfigError, match=r"unknown layer 'learned_scale'; --custom-layers FILE.py adds one's own; known: "):
        experiment("learned_scale")


FIELDS = """
    a: int, b: float = 0.5, c: bool = True, d: str = "x", e: Literal["one", 2, None] = None, f: list[int] = [1], g: tuple[int, ...] = (),
    h: tuple[int, str] = (1, "x"), i: Optional[float] = None, j: int | tuple[int, int] = 3, k: list[list[float]] | None = None, **kwargs
"""
WRONG = {
    "a": (1.5, "an integer"), "b": ("x", "a number"), "c": (1, "true or false"), "d": (1, "a text"), "e": ("two", "one of one, 2, null"),
    "f": ([1, 2.5], "a list, each item an integer"), "g": (3, "a list, each item an integer"), "h": ([1], "a list of 2: an integer, a text"),
    "i": ("x", "a number or null"), "j": ([1, 2, 3], "an integer or a list of 2: an integer, an integer"),
    "k": ([1], "a list, each item a list, each item a number or null"),
}  # fmt: skip
RIGHT: dict[str, list[Any]] = {
    "a": [0, -3, 2**31 - 1], "b": [1, 1.5], "c": [False], "d": ["", "null"], "e": ["one", 2, None], "f": [[], [1, 2]], "g": [[], [1, 2]],
    "h": [[2, "y"]], "i": [None, 2], "j": [4, [1, 2]], "k": [None, [[1, 2.5], []]],
}  # fmt: skip


@pytest.fixture
def many(own: Use) -> Path:
    return own(layer(SAME, arguments=" ".join(FIELDS.split())))


def schema_accepts(content: Any) -> bool:
    return bool(Draft202012Validator(json_schema()).is_valid(content))


def config_of(fields: dict[str, Any]) -> dict[str, Any]:
    layers = [{"odd": {"a": 1, **fields}}, "flatten", {"dense": {"units": "classes"}}]
    return {"data": {"source": "digits"}, "model": {"layers": layers}}


@pytest.mark.parametrize("name", RIGHT)
def test_every_annotation_takes_its_values_and_schema_and_loader_agree(name: str, many: Path) -> None:
    for value in RIGHT[name]:
        content = config_of({name: value})
        node = check(parse(json.dumps(content), "c")).network.nodes[0]
        found = getattr(node.layer, name)
        assert (list(found) if isinstance(found, tuple) else found) == value
        assert schema_accepts(content)
    message = WRONG[name]
    content = config_of({name: message[0]})
    with pytest.raises(ConfigError, match="expected") as caught:
        check(parse(json.dumps(content), "c"))
    assert f"model.layers[0].odd.{name}: expected {message[1]}, received" in str(caught.value)
    assert not schema_accepts(content)


def test_an_argument_without_default_is_required_and_an_unknown_one_is_refused(many: Path) -> None:
    for fields, message in (("odd", "field 'a' is required"), ({"odd": {"a": 1, "z": 2}}, "unknown field 'z'")):
        with pytest.raises(ConfigError, match=message):
            experiment(fields)


def test_the_config_of_a_run_reads_back(many: Path) -> None:
    first = experiment({"odd": {"a": 1, "h": [3, "z"], "k": [[0.5]]}})
    again = check(parse(json.dumps(first.model_dump(mode="json")), "again"), look_at_data=False)
    assert again == first


# what they compute


BLEND = """
class Blend(keras.layers.Layer):
    several_inputs = True

    def build(self, input_shape):
        assert len(input_shape) == 2
        self.share = self.add_weight(shape=(), initializer="zeros", name="share")

    def call(self, inputs):
        return inputs[0] * ops.sigmoid(self.share) + inputs[1] * (1 - ops.sigmoid(self.share))

    def compute_output_shape(self, input_shape):
        return input_shape[0]
"""


def test_shapes_and_parameters_are_those_of_the_built_layer(own: Use) -> None:
    own(
        layer(
            """
            def build(self, input_shape):
                self.inner = keras.layers.Dense(self.units, name="inner")
                self.inner.build(input_shape)
                self.seen = self.add_weight(shape=(3,), initializer="zeros", trainable=False)

            def call(self, inputs):
                return self.inner(inputs)

            def compute_output_shape(self, input_shape):
                return (*input_shape[:-1], self.units)
            """,
            arguments="units: int, seed: int | None = None, **kwargs",
        ).replace(
            'Dense(self.units, name="inner")',
            "Dense(self.units, kernel_initializer=keras.initializers.GlorotUniform(self.seed))",
        )
    )
    made = experiment({"odd": {"units": 5}})
    facts = made.network.facts[0]
    assert (facts.output_shape, facts.trainable, facts.non_trainable) == ((8, 8, 5), 10, 3)
    check_custom_layers(made.network)
    assert build_model(made).get_layer("odd").count_params() == 13


def test_a_class_takes_several_inputs_if_it_says_so(own: Use) -> None:
    own(SCALE + "\n\n" + REGISTER + BLEND.lstrip())
    made = experiment({"learned_scale": {"name": "a"}}, {"learned_scale": {"name": "b"}}, {"blend": {"inputs": ["a", "b"]}})
    assert made.network.facts[2].input_shapes == ((8, 8, 1), (8, 8, 1))
    images = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    outputs = [np.asarray(build_model(experiment_in(made, style))(images)) for style in ("functional", "subclass")]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    with pytest.raises(ConfigError, match="field 'inputs' is required"):
        experiment("blend")
    with pytest.raises(ConfigError, match="takes one input, received 2"):
        experiment({"flatten": {"name": "a"}}, {"learned_scale": {"inputs": ["input", "a"]}})


def experiment_in(made: Experiment, style: str) -> Experiment:
    return made.model_copy(update={"model": made.model.model_copy(update={"style": style})})


NOISE = """
class Noise(keras.layers.Layer):
    def __init__(self, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(4,), initializer=keras.initializers.RandomNormal(seed=self.seed), name="scale")
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, inputs, training=False):
        if not training:
            return inputs
        self.calls.assign_add(1.0)
        return inputs + keras.random.normal(ops.shape(inputs), seed=self.generator, dtype=inputs.dtype) * ops.mean(self.scale)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
"""


def test_a_seed_is_filled_and_training_is_passed_in_every_style(own: Use) -> None:
    own(NOISE)
    images = np.ones((2, 8, 8, 1), np.float32)
    outputs, weights = [], []
    for style in STYLES:
        model = build_model(experiment("noise", {"noise": {"name": "other"}}, style=style))
        assert model.get_layer("noise").seed != model.get_layer("other").seed
        np.testing.assert_array_equal(model(images, training=False), model(images))
        outputs.append(np.asarray(model(images, training=True)))
        weights.append(model.get_layer("other").get_weights()[:2])
    for other, theirs in zip(outputs[1:], weights[1:], strict=True):
        np.testing.assert_array_equal(other, outputs[0])
        for mine, one in zip(weights[0], theirs, strict=True):
            np.testing.assert_array_equal(mine, one)
    assert weights[0][1] == 1.0


def test_a_seed_of_the_config_is_kept(own: Use) -> None:
    own(NOISE)
    assert build_model(experiment({"noise": {"seed": 7}})).get_layer("noise").seed == 7


# costs and receptive fields


def test_macs_and_fields_are_unknown_unless_the_class_has_the_methods(own: Use) -> None:
    own(SCALE)
    summary = summarize(experiment({"conv2d": {"filters": 2, "kernel_size": 3}}, "learned_scale"))
    plain = as_plain(summary)
    convolution = 6 * 6 * 9 * 2
    assert [each["macs"] for each in plain["layers"]] == [convolution, None, 0, 720]
    assert plain["total"]["macs"] is None
    assert [each["receptive_field"] for each in plain["layers"]] == [[3, 3], None, None, None]
    lines = totals(summary)
    assert (
        f"at least {convolution + 720} MACs per image; those of learned_scale are unknown: the class has no method macs".replace(
            "1368", "1.37 k"
        )
        in lines
    )
    assert "receptive fields are unknown from 'learned_scale' on: its class has no method window" in lines


def test_macs_are_those_that_the_method_counts(own: Use) -> None:
    own(SCALE + "\n    def macs(self, input_shape):\n        return input_shape[1] * input_shape[2] * self.scale.shape[0]\n")
    summary = summarize(experiment("learned_scale"))
    assert [row.facts.macs for row in summary.rows] == [64, 0, 640]
    assert as_plain(summary)["total"]["macs"] == 704


MIXES = {
    "'value'": "inputs",
    "'position'": "inputs + ops.mean(inputs, axis=-1, keepdims=True)",
    "'all'": "inputs + ops.mean(inputs, axis=(1, 2, 3), keepdims=True)",
    "{'size': 3, 'padding': 'same'}": "ops.average_pool(inputs, 3, 1, 'same') + ops.mean(ops.average_pool(inputs, 3, 1, 'same'), -1, keepdims=True)",
    "{'size': (3, 1), 'strides': 2}": "ops.average_pool(inputs, (3, 1), 2, 'valid') + ops.mean(ops.average_pool(inputs, (3, 1), 2, 'valid'), -1, keepdims=True)",
    "{'size': 2, 'dilation': 3}": "inputs[:, 3:, 3:] + inputs[:, :-3, :-3] + inputs[:, 3:, :-3] + inputs[:, :-3, 3:]",
}


@pytest.mark.parametrize("window", MIXES)
def test_a_described_field_is_what_changes_the_outputs(window: str, own: Use) -> None:
    """The pixels with a gradient are those of the receptive field, after a convolution and with a convolution behind."""
    own(
        layer(
            f"""
            def call(self, inputs):
                return {MIXES[window]}

            def compute_output_shape(self, input_shape):
                return (None, *self.call(ops.zeros((1, *input_shape[1:]))).shape[1:])

            def window(self, input_shape):
                return {window}
            """
        )
    )
    ones = {"kernel_initializer": "ones", "use_bias": False}
    made = experiment(
        {"conv2d": {"filters": 2, "kernel_size": 2, "strides": 1, **ones}},
        "odd",
        {"conv2d": {"filters": 1, "kernel_size": 2, "name": "end", **ones}},
    )
    network, model = made.network, build_model(made)
    fields = receptive_fields(network.nodes, network.facts, network.image, network.context)
    for name, field in zip(("odd", "end"), fields[1:3], strict=True):
        outputs = keras.Model(model.inputs, model.get_layer(name).output)
        images = tf.Variable(tf.ones((1, 8, 8, 1)))
        largest = np.zeros(2, int)
        for place in np.ndindex(*outputs.output_shape[1:]):
            with tf.GradientTape() as tape:
                value = outputs(images)[(0, *place)]
            changed = np.nonzero(np.asarray(tape.gradient(value, images))[0, :, :, 0])
            spans = [axis.max() - axis.min() + 1 for axis in changed]
            largest = np.maximum(largest, spans)
        assert field is not None
        assert field.field == tuple(largest)


# files that are refused, each with its line


OTHERS: dict[str, tuple[Any, str]] = {
    "syntax": ("x = (1\n", "own.py:1  SyntaxError: '(' was never closed; --custom-layers needs valid Python"),
    "exception": ("import keras\n\nx = 1 / 0\n", "own.py:3  ZeroDivisionError: division by zero; --custom-layers cannot import the file"),
    "deep exception": ("def f():\n    raise ValueError('a\\nb')\n\n\nf()\n", "own.py:2  ValueError: a; --custom-layers cannot import the file"),
    "exit": ("import sys\n\nsys.exit(0)\n", "own.py:3  the file ends the program when it is imported; move that under if __name__ == '__main__':"),
    "missing": ("import no_such_package\n", "own.py:1  ModuleNotFoundError: No module named 'no_such_package'; --custom-layers cannot import the file"),
    "neighbour": (
        "import neighbour\n",
        "own.py:1  ModuleNotFoundError: No module named 'neighbour'; files beside it are not imported, since a run keeps and checks this "
        "file alone: put everything into one file",
    ),
    "nothing": ("x = 1\n", "own.py: the file registers no layer: expected a subclass of keras.layers.Layer below @keras.saving.register_keras_serializable()"),
    "not registered": (
        HEAD + SCALE,
        "own.py:7  the file registers no layer: expected a subclass of keras.layers.Layer below "
        "@keras.saving.register_keras_serializable(); write @keras.saving.register_keras_serializable() above class LearnedScale",
    ),
    "no text": ("x = '\0'\n", "own.py:1  "),
    "not utf-8": (b"x = '\xff'\n", "own.py:1  SyntaxError: "),
    "floatx": (
        HEAD + "keras.config.set_floatx('float16')\n" + REGISTER + SCALE.lstrip(),
        "own.py:6  the file changes keras.config.floatx from float32 to float16 for all layers; remove it: data_format and precision are "
        "fields of a config",
    ),
    "policy": (
        HEAD + "keras.mixed_precision.set_dtype_policy('mixed_bfloat16')\n" + REGISTER + SCALE.lstrip(),
        "own.py:6  the file changes keras.config.dtype_policy from float32 to mixed_bfloat16 for all layers; remove it: data_format and "
        "precision are fields of a config",
    ),
    "format": (HEAD + "keras.config.set_image_data_format('channels_first')\n", "own.py:6  the file changes keras.config.image_data_format from "),
    "epsilon": (HEAD + "keras.config.set_epsilon(1.0)\n", "own.py:6  the file changes keras.config.epsilon from 1e-07 to 1.0 for all layers"),
    "ours": (
        HEAD + "@keras.saving.register_keras_serializable(package='cnnctl', name='StackModel')\n" + SCALE.lstrip(),
        "own.py: the file replaces 'cnnctl>StackModel' of cnnctl; use another package or name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text, message = OTHERS[name]
    Path("own.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    Path("neighbour.py").write_text("x = 1\n")
    before = keras.config.floatx(), keras.config.dtype_policy().name, keras.config.image_data_format(), keras.config.epsilon()
    registered = {name: each for name, each in keras.saving.get_custom_objects().items() if each.__module__ != MODULE}
    assert refused(lambda: use_layers(Path("own.py"))).startswith(message)
    assert before == (
        keras.config.floatx(),
        keras.config.dtype_policy().name,
        keras.config.image_data_format(),
        keras.config.epsilon(),
    )
    assert registered.items() <= keras.saving.get_custom_objects().items()
    assert loaded() is None


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda: None, "No such file or directory"), (lambda: Path("own.py").mkdir(), "it is not a regular file")],
)
def test_what_is_not_a_file_is_refused(
    make: Callable[[], None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make()
    assert (
        refused(lambda: use_layers(Path("own.py")))
        == f"--custom-layers own.py: {message}; expected a Python file that defines layers"
    )


CLASSES = {
    "built in": (layer(SAME, "Dense"), "own.py:7  class Dense becomes the layer 'dense', which is built in; rename it"),
    "repeat": (layer(SAME, "Repeat"), "own.py:7  class Repeat becomes the layer 'repeat', which is built in; rename it"),
    "twice": (layer(SAME) + "\n\n" + REGISTER + layer(SAME), "own.py:19  class Odd is defined in line 7 already; rename one"),
    "one name": (
        layer(SAME, "OddABC") + "\n\n" + REGISTER + layer(SAME, "OddAbc"),
        "own.py:19  class OddAbc becomes the layer 'odd_abc', as OddABC does; rename one",
    ),
    "one registration": (
        layer(SAME) + "\n\n@keras.saving.register_keras_serializable(name='Odd')\n" + layer(SAME, "Even"),
        "own.py:7  class Odd is registered under the name of class Even; give one of them another name",
    ),
    "hidden": (layer(SAME, "_Odd"), "own.py:7  class _Odd has a name that cannot be a layer of a config; use letters and digits"),
    "no annotation": (
        layer(SAME, arguments="units, **kwargs"),
        "own.py:8  argument 'units' has no annotation; write one, such as units: int. Known are int, float, bool, str, Literal[...], ",
    ),
    "unknown annotation": (
        layer(SAME, arguments="units: dict[str, int], **kwargs"),
        "own.py:8  argument 'units' has the annotation dict[str, int], which a config cannot have; known are int, ",
    ),
    "class annotation": (
        layer(SAME, arguments="inner: keras.Layer, **kwargs"),
        "own.py:8  argument 'inner' has the annotation Layer, which a config cannot have; known are int, ",
    ),
    "wrong default": (
        layer(SAME, arguments="units: int = None, **kwargs"),
        "own.py:8  argument 'units' has the default null, but its annotation expects an integer",
    ),
    "broken annotation": (
        layer(SAME, arguments="units: 'nothing', **kwargs"),
        "own.py:8  Odd.__init__ has an annotation that cannot be read: name 'nothing' is not defined",
    ),
    "many": (layer(SAME, arguments="units: int, **kwargs").replace("self, units", "self, *units"), "own.py:8  argument 'units' has no name for a config; Keras cannot save it either. "),
    "taken": (layer(SAME, arguments="kind: str, **kwargs"), "own.py:8  argument 'kind' has a name that a field of a layer cannot have; rename it"),
    "no kwargs": (
        layer(SAME).replace("**kwargs", "*, name: str", 1).replace("**kwargs", "name=name"),
        "own.py:8  Odd.__init__ takes no dtype; add **kwargs, and pass it on: super().__init__(**kwargs)",
    ),
    "inherited": (
        "class Odd(keras.layers.Dense):\n    def call(self, x):\n        return x\n",
        "own.py:7  Odd.__init__ is that of Dense, whose arguments have no annotations; write an __init__ with annotated arguments",
    ),
    "no call": (layer(SAME.partition("def compute")[1] + SAME.partition("def compute")[2]), "own.py:7  class Odd has no method call; write one that returns its output"),
    "no shape": (
        layer(SAME.partition("def compute")[0]),
        "own.py:7  class Odd has no method compute_output_shape; write one that returns the shape of its output, batch first",
    ),
    "output kind": (
        layer(SAME).replace("    def __init__", "    output_kind = 'labels'\n\n    def __init__", 1),
        "own.py:7  Odd.output_kind: expected logits or probabilities, received 'labels'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_that_cannot_be_a_layer_is_refused_with_its_line(name: str, own: Use) -> None:
    text, message = CLASSES[name]
    assert refused(lambda: own(text)).startswith(message)
    assert loaded() is None


# layers that break a rule, found where they are used


def odd(**methods: str) -> str:
    """Returns a layer with these bodies of methods; `arguments` are those of `__init__`."""
    arguments = methods.pop("arguments", "**kwargs")
    known = {"call": "return inputs", "compute_output_shape": "return input_shape"} | methods
    heads = {"call": "self, inputs", "get_config": "self"}
    return layer(
        "\n".join(f"def {name}({heads.get(name, 'self, input_shape')}):\n    {body}\n" for name, body in known.items()),
        arguments=arguments,
    )


RULES = {
    "config": (
        odd(arguments="units: int = 3, **kwargs", get_config="return super().get_config()"),
        "own.py:18  Odd.get_config lacks 'units', so a saved network could not be opened; add what __init__ takes: return "
        "{**super().get_config(), 'units': self.units}",
    ),
    "other config": (
        odd(arguments="units: int = 3, **kwargs", get_config="return {**super().get_config(), 'units': self.units + 1}"),
        "own.py:18  Odd.get_config does not return what __init__ took: made from it, it returns another",
    ),
    "too much config": (
        odd(get_config="return {**super().get_config(), 'other': 1}"),
        "own.py:17  class Odd cannot be saved: TypeError: ",
    ),
    "failing config": (odd(get_config="raise KeyError('x')"), "own.py:17  class Odd cannot be saved: KeyError: 'x' (own.py:18)"),
    "no shape": (odd(compute_output_shape="return None"), "own.py:14  Odd.compute_output_shape returned null; expected one shape, (None, height"),
    "unknown side": (odd(compute_output_shape="return (None, None, 8, 1)"), "own.py:14  Odd.compute_output_shape returned [null, null, 8, 1]; expected"),
    "several shapes": (odd(compute_output_shape="return [input_shape, input_shape]"), "own.py:14  Odd.compute_output_shape returned [["),
    "without batch": (odd(compute_output_shape="return input_shape[1:]"), "own.py:14  Odd.compute_output_shape returned [8, 8, 1]; expected"),
    "macs": (odd(macs="return 1.5"), "own.py:17  Odd.macs returned 1.5; expected the MACs per image, an integer of at least 0"),
    "window": (odd(window="return 3"), "own.py:17  Odd.window returned 3; expected value, position, all, None or a mapping such as {'size': 3, "),
    "window key": (odd(window="return {'size': 3, 'stride': 2}"), "own.py:17  Odd.window returned {\"size\": 3, \"stride\": 2}; expected value"),
    "other window": (odd(window="return {'size': 3}"), 'own.py:17  Odd.window returned {"size": 3}; expected a window with 8×8 positions, as compute_'),
    "other shape": (
        odd(compute_output_shape="return (*input_shape[:-1], 5)"),
        "own.py:14  Odd.compute_output_shape says (2, 8, 8, 5) for a batch of 2, but call returns (2, 8, 8, 1)",
    ),
    "lost batch": (odd(call="return ops.mean(inputs, 0, keepdims=True)"), "own.py:14  Odd.compute_output_shape says (2, 8, 8, 1) for a batch of 2, but call returns (1,"),
    "several outputs": (odd(call="return [inputs, inputs]"), "own.py:14  Odd.compute_output_shape says (2, 8, 8, 1) for a batch of 2, but call returns list, not one tensor"),
    "weights in call": (
        odd(call="return inputs * self.add_weight(shape=(1,), initializer='ones')"),
        "own.py:11  Odd.call failed: ValueError: You cannot add new elements of state (variables or sub-layers) to a layer that is already built.",
    ),
    "layers built in call": (
        odd(build="self.inner = keras.layers.Dense(1)", call="return self.inner(inputs)"),
        "own.py:11  Odd creates 2 of its weights in call, after they were counted; create them in build(), where layers inside it are built "
        "too: self.inner.build(input_shape)",
    ),
    "failing call": (odd(call="raise ValueError('no')"), "own.py:11  Odd.call failed: ValueError: no (own.py:12)"),
    "numpy in call": (odd(call="import numpy as np; return ops.convert_to_tensor(np.sort(np.asarray(inputs)))"), "own.py:11  Odd.call failed: "),
    "another precision": (
        odd(call="return inputs + keras.random.normal((1,), seed=3, dtype='float64')"),
        "own.py:11  Odd.call failed: InvalidArgumentError: cannot compute AddV2 as input #1(zero-based) was expected to be a float tensor",
    ),
    "unseeded weights": (
        odd(build="self.w = self.add_weight(shape=(1,), initializer='glorot_uniform')"),
        "own.py:17  Odd starts with other weights each time; take seed: int | None = None in Odd.__init__, which cnnctl fills from the seed of "
        "the config, and pass it on: initializer=keras.initializers.GlorotUniform(seed=self.seed)",
    ),
    "unseeded call": (
        odd(call="return inputs + keras.random.normal((1,))"),
        "own.py:11  Odd draws other random numbers each time; take seed: int | None = None in Odd.__init__, which cnnctl fills",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_layer_that_breaks_a_rule_is_refused_before_a_network_is_built(name: str, own: Use) -> None:
    text, message = RULES[name]
    own(text)
    assert refused(lambda: build_model(experiment("odd"))).startswith(message)


FAILING = {
    "shape": (odd(compute_output_shape="raise ValueError('only for 9×9')"), "Odd.compute_output_shape failed: ValueError: only for 9×9 (own.py:15)"),
    "build": (odd(build="raise ValueError('only for 9×9')"), "Odd.build failed: ValueError: only for 9×9 (own.py:18)"),
    "init": (
        odd(arguments="units: int = 3, **kwargs").replace("        self.units = units", "        raise ValueError('too few')"),
        "Odd.__init__ failed: ValueError: too few (own.py:10)",
    ),
    "exit": (odd(build="raise SystemExit(3)"), "Odd.build failed: SystemExit: 3 (own.py:18)"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILING)
def test_a_layer_that_refuses_its_input_is_an_error_of_the_config(name: str, own: Use) -> None:
    text, message = FAILING[name]
    own(text)
    with pytest.raises(ConfigError) as caught:
        experiment("odd")
    (problem,) = caught.value.problems
    assert problem.path == "model.layers[0].odd"
    assert problem.message.startswith(message)


# what the file does besides


def test_a_file_of_which_nothing_is_used_is_told(own: Use) -> None:
    own(SCALE)
    notes: dict[str, list[str]] = {"dropout": [], "learned_scale": []}
    for kind, found in notes.items():
        layers = [{kind: {"rate": 0.1} if kind == "dropout" else {}}, "flatten", {"dense": {"units": "classes"}}]
        check(parse(json.dumps({"data": {"source": "digits"}, "model": {"layers": layers}}), "c"), notes=found)
    assert "warning: the config has no layer of own.py (learned_scale); remove --custom-layers, or use one" in notes["dropout"]
    assert not any("own.py" in note for note in notes["learned_scale"])


def test_what_a_file_prints_goes_to_stderr(own: Use, capsys: pytest.CaptureFixture[str]) -> None:
    own(
        SCALE.replace("        return input_shape", "        print('shape')\n        return input_shape")
        + "\n\nprint('imported')\n"
    )
    build_model(experiment("learned_scale"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "imported\n" in err
    assert "shape\n" in err


def test_a_file_is_read_once_and_what_runs_is_what_is_hashed(own: Use) -> None:
    file = own(SCALE + "\n\nwith open('own.py', 'a') as file:\n    file.write('# changed')\n")
    kept = loaded()
    assert kept is not None
    assert kept.source != file.read_bytes()
    assert file.read_bytes() == kept.source + b"# changed"


def test_a_file_may_run_as_a_program_and_have_other_classes(own: Use) -> None:
    own(
        "class Helper:\n    pass\n\n\n"
        + REGISTER
        + SCALE.lstrip()
        + "\n\nif __name__ == '__main__':\n    raise SystemExit(1)\n",
        head=HEAD,
    )
    assert [*(loaded().layers if loaded() else ())] == ["learned_scale"]  # type: ignore[union-attr]


def test_the_next_file_replaces_the_layers_of_the_last(own: Use) -> None:
    own(SCALE)
    own(SCALE.replace("LearnedScale", "OtherScale"))
    assert "learned_scale" not in STACK_ITEM.choices
    assert [name for name in keras.saving.get_custom_objects() if "Scale" in name] == ["Custom>OtherScale"]


def test_no_folder_is_added_to_the_search_path(own: Use) -> None:
    before = list(sys.path)
    own(SCALE)
    assert sys.path == before


def test_the_output_of_a_network_is_what_the_class_says(own: Use) -> None:
    end = odd(call="return ops.softmax(inputs)", compute_output_shape="return input_shape").replace(
        "    def __init__", "    output_kind = 'probabilities'\n\n    def __init__", 1
    )
    own(end)
    content = {"data": {"source": "digits"}, "model": {"layers": ["flatten", {"dense": {"units": "classes"}}, "odd"]}}
    from cnnctl.spec.head import chosen_loss

    assert not chosen_loss(check(parse(json.dumps(content), "c"))).from_logits
    own(end.replace("'probabilities'", "'logits'"))
    assert chosen_loss(check(parse(json.dumps(content), "c"))).from_logits


@pytest.mark.parametrize(("field", "value"), [("batch_parts", 2), ("strategy", "mirrored")])
def test_batches_are_not_divided_since_a_layer_may_compare_their_images(field: str, value: Any, own: Use) -> None:
    own(SCALE)
    with pytest.raises(ConfigError, match="'learned_scale' is a layer of one's own, which may compare the images of a batch"):
        experiment("learned_scale", train={field: value})

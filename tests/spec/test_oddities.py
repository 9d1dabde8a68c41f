"""What is allowed and mostly a mistake is warned about, and batch norm that cannot learn is refused."""

from __future__ import annotations

from typing import Any

import pytest

from cnnctl.errors import ConfigError
from cnnctl.spec.document import parse
from cnnctl.spec.load import check
from cnnctl.spec.oddities import last_batch_warning
from tests.spec.test_head import SOFTMAX, Layers, checked, dense, maps

DROP = {"dropout": {"rate": 0.5}}


def conv(filters: int, name: str, **fields: Any) -> dict[str, Any]:
    return {"conv2d": {"filters": filters, "kernel_size": 3, "padding": "same", "name": name, **fields}}


def warnings(layers: Layers, data_format: str = "channels_last", **train: Any) -> list[str]:
    notes: list[str] = []
    checked(layers, data_format, notes, **train)
    return notes


def residual(filters: int, use_bias: bool = True) -> Layers:
    branch = conv(filters, "b", inputs=["a"], use_bias=use_bias)
    return [conv(4, "a", use_bias=use_bias), branch, {"add": {"inputs": ["a", "b"]}}, "flatten", dense()]


PLAIN = "warning: data.augment.plain_epochs: "


@pytest.mark.parametrize(
    ("augment", "train", "warning"),
    [
        ("{rotation: 10, plain_epochs: 2}", "{epochs: 3}", None),
        ("{plain_epochs: 2}", "{epochs: 3}", f"{PLAIN}2 has no effect, since no transformation is set"),
        ("{rotation: 10, plain_epochs: 3}", "{epochs: 3}", f"{PLAIN}3 leaves none of 3 epochs to augment"),
        ("{rotation: 10, plain_epochs: 2}", "{epochs: 1}", f"{PLAIN}2 leaves none of 1 epoch to augment"),
        (
            "{rotation: 10, plain_epochs: 1}",
            "{epochs: 3, early_stopping: {}}",
            f"{PLAIN}1: train.early_stopping may end the training before these last epochs",
        ),
    ],
)
def test_plain_epochs_that_change_nothing_or_may_not_come_are_warned_about(
    augment: str, train: str, warning: str | None
) -> None:
    notes: list[str] = []
    text = f"data: {{source: digits, augment: {augment}}}\nmodel: {{layers: [flatten, dense: {{units: classes}}]}}\ntrain: {train}\n"
    experiment = check(parse(text, "x.yaml"), notes=notes)
    assert [note for note in notes if note.startswith("warning")] == ([warning] if warning else [])
    assert 0 <= experiment.plain_from <= experiment.train.epochs


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_an_add_of_one_channel_to_several_is_warned_about_with_a_remedy_that_works(data_format: str) -> None:
    (warning,) = warnings(residual(1), data_format)
    assert warning.startswith("warning: 'add' adds the one channel of 'b'")
    assert warning.endswith("Unless this is intended, set filters: 4 for 'b'")
    assert warnings(residual(4), data_format) == []


def test_an_add_of_means_to_all_places_of_their_channels_is_not_warned_about() -> None:
    means = {"global_average_pooling2d": {"keepdims": True}}
    assert warnings([conv(4, "a"), means, {"add": {"inputs": ["a", "global_average_pooling2d"]}}, "flatten", dense()]) == []


def test_an_add_of_one_value_to_a_vector_says_units() -> None:
    layers = ["flatten", dense(8, name="a"), dense(1, name="b"), {"add": {"inputs": ["a", "b"]}}, dense()]
    assert warnings(layers)[0].endswith("set units: 8 for 'b'")


def test_a_mean_of_one_channel_with_several_is_warned_about_and_a_mask_of_one_channel_is_not() -> None:
    (warning,) = warnings([conv(4, "a"), conv(1, "b"), {"average": {"inputs": ["a", "b"]}}, "flatten", dense()])
    assert "combines the one channel of 'b' (8, 8, 1) with each of the 4 channels" in warning
    assert warnings([conv(4, "a"), conv(1, "b"), {"multiply": {"inputs": ["a", "b"]}}, "flatten", dense()]) == []


def test_a_difference_of_a_layer_and_itself_is_warned_about() -> None:
    (warning,) = warnings([conv(4, "a"), {"subtract": {"inputs": ["a", "a"]}}, "flatten", dense()])
    assert "subtracts 'a' from itself, which is 0 for every image" in warning


def test_no_softmax_of_an_average_at_the_end_is_warned_about() -> None:
    heads = [dense(activation="softmax", name=name, inputs=["flatten"]) for name in ("a", "b")]
    assert warnings(["flatten", *heads, {"average": {"inputs": ["a", "b"]}}]) == []


def test_a_softmax_between_layers_is_warned_about() -> None:
    (warning,) = warnings([maps("softmax"), "flatten", dense(activation="softmax")])
    assert warning.startswith("warning: 'conv2d' is a softmax, but more layers follow")
    assert warnings([maps("relu"), "flatten", dense(), SOFTMAX]) == []


def test_a_log_softmax_between_layers_is_warned_about_unless_it_ends_the_network() -> None:
    (warning,) = warnings([maps("log_softmax"), "flatten", dense()])
    assert warning.startswith(
        "warning: 'conv2d' is a log_softmax, but more layers follow and receive logarithms of probabilities"
    )
    (warning,) = warnings([conv(1, "a", activation="log_softmax"), "flatten", dense()])
    assert "is a log_softmax over one value, the last axis, which is always 0: no layer before it can learn" in warning
    assert warnings(["flatten", dense(activation="log_softmax")]) == []


def test_a_softmax_layer_between_others_is_warned_about_unless_it_is_along_other_axes() -> None:
    (warning,) = warnings([maps(), "softmax", "flatten", dense()])
    assert warning.startswith("warning: 'softmax' is a softmax, but more layers follow")
    assert warnings([maps(), {"softmax": {"axis": [1, 2]}}, "flatten", dense()]) == []
    (warning,) = warnings([maps(size=8), {"softmax": {"axis": [1, 2]}}, "flatten", dense()])
    assert "over one value, along axes of length 1, which is always 1" in warning


def test_a_softmax_over_one_value_is_warned_about() -> None:
    (warning,) = warnings([conv(1, "a", activation="softmax"), "flatten", dense()])
    assert "over one value, the last axis, which is always 1" in warning


def test_dropout_of_the_outputs_is_warned_about_and_may_stand_before_the_last_weights() -> None:
    (warning,) = warnings(["flatten", dense(), DROP])
    assert warning.endswith("sets outputs of the network to 0 in training; move it before 'dense'")
    assert warnings(["flatten", DROP, dense()]) == []
    assert warnings(["flatten", dense(), {"dropout": {"rate": 0.0}}]) == []


def test_noise_on_the_outputs_is_warned_about() -> None:
    (warning,) = warnings(["flatten", dense(), {"gaussian_noise": {"stddev": 0.1}}])
    assert warning.endswith("changes outputs of the network at random in training; move it before 'dense'")
    assert warnings(["flatten", dense(), {"gaussian_noise": {"stddev": 0.0}}]) == []


def test_of_a_repeated_layer_the_first_is_warned_about() -> None:
    block = {"repeat": {"times": 3, "layers": [{"dense": {"units": 5, "activation": "softmax"}}]}}
    assert len(warnings(["flatten", block, dense()])) == 1


@pytest.mark.parametrize("layers", [["flatten", "batch_normalization"], [maps(size=8), "batch_normalization", "flatten"]])
def test_batch_norm_of_one_value_in_batches_of_one_image_is_refused(layers: Layers) -> None:
    with pytest.raises(ConfigError, match=r"batch_normalization: with train\.batch_size: 1 .* every output is beta"):
        checked([*layers, dense()], batch_size=1)
    checked([*layers, dense()], batch_size=2)


ALONE = [
    (["layer_normalization", "flatten"], "'layer_normalization' has a mean over one value", "write axis: [1, 2, 3]"),
    (
        ["flatten", {"group_normalization": {"groups": -1}}],
        "every output is beta: no layer before it can learn",
        "write groups: 1",
    ),
    (["flatten", {"group_normalization": {"groups": -1, "center": False}}], "every output is 0", "write groups: 1"),
    (["unit_normalization", "flatten"], "divides each value by its own size", "write axis: [1, 2, 3]"),
    (["flatten", {"dense": {"units": 1}}, "layer_normalization"], "has a mean over one value", "remove it"),
]


@pytest.mark.parametrize(("layers", "message", "remedy"), ALONE)
def test_a_normalization_of_one_value_per_mean_is_warned_about(layers: Layers, message: str, remedy: str) -> None:
    (warning,) = warnings([*layers, dense()])
    assert message in warning
    assert remedy in warning


def test_a_normalization_of_several_values_is_not() -> None:
    whole = [1, 2, 3]
    several = [
        {"layer_normalization": {"axis": whole}},
        {"unit_normalization": {"axis": whole}},
        "flatten",
        "layer_normalization",
    ]
    assert warnings([*several, {"group_normalization": {"groups": 1}}, dense()]) == []


def test_the_deprecated_option_of_layer_normalization_is_warned_about() -> None:
    (warning,) = warnings([{"layer_normalization": {"rms_scaling": True}}, "flatten", dense()])
    assert "has rms_scaling, which Keras has deprecated" in warning


def test_batch_norm_of_maps_takes_batches_of_one_image() -> None:
    checked([maps(), "batch_normalization", "flatten", dense()], batch_size=1)


@pytest.mark.parametrize(("examples", "batch_size"), [(65, 64), (65, 32), (3, 2), (1001, 8), (7, 3)])
def test_a_last_batch_of_one_image_is_warned_about_with_a_batch_size_that_works(examples: int, batch_size: int) -> None:
    network = checked(["flatten", dense(5), "batch_normalization", dense()]).network
    nodes, facts = network.nodes, network.facts
    warning = last_batch_warning(nodes, facts, examples, batch_size)
    assert "'batch_normalization'" in warning
    better = int(warning.rpartition(" ")[2])
    assert examples % better != 1
    assert last_batch_warning(nodes, facts, examples, better) == ""


def test_one_training_image_is_warned_about() -> None:
    network = checked(["flatten", dense(5), "batch_normalization", dense()]).network
    nodes, facts = network.nodes, network.facts
    assert "with one training image 'batch_normalization' outputs the same" in last_batch_warning(nodes, facts, 1, 8)


@pytest.mark.parametrize(("examples", "batch_size"), [(64, 64), (66, 64), (63, 64)])
def test_other_last_batches_are_not(examples: int, batch_size: int) -> None:
    network = checked(["flatten", dense(5), "batch_normalization", dense()]).network
    nodes, facts = network.nodes, network.facts
    assert last_batch_warning(nodes, facts, examples, batch_size) == ""
    network = checked([maps(), "batch_normalization", "flatten", dense()]).network
    nodes, facts = network.nodes, network.facts
    assert last_batch_warning(nodes, facts, 65, 64) == "", "maps have many values"


def test_a_rescaling_that_leaves_almost_nothing_is_warned_about() -> None:
    (warning,) = warnings([maps(), {"rescaling": {"scale": 0}}, "flatten", dense()])
    assert (
        warning
        == "warning: 'rescaling' multiplies by 0, so its output is the same for every image: no layer before it can learn"
    )
    (warning,) = warnings([{"rescaling": {"scale": 1 / 255}}, "flatten", dense()])
    assert (
        "makes the pixels, which are always divided by 255, lie between 0 and 0.0039 apart from the offset; remove it"
        in warning
    )
    assert warnings([{"rescaling": {"scale": 2.0, "offset": -1.0}}, "flatten", dense()]) == []
    assert warnings([maps(), {"rescaling": {"scale": 0.001}}, "flatten", dense()]) == []

"""The stack as a graph: names, repeats, inputs, and what is said about wrong wiring."""

from __future__ import annotations

from typing import Any

import pytest

from cnnctl.spec.experiment import ModelSpec
from cnnctl.spec.stack import Complaint, Node, below, nodes_of, without

CONV = {"conv2d": {"filters": 2, "kernel_size": 1}}


def named(name: str, *inputs: str) -> dict[str, Any]:
    """Returns an activation layer of this name that takes these layers."""
    return {"activation": {"activation": "relu", "name": name, **({"inputs": list(inputs)} if inputs else {})}}


def add(*inputs: str, **fields: Any) -> dict[str, Any]:
    return {"add": {"inputs": list(inputs), **fields}}


def repeat(times: int, *layers: Any) -> dict[str, Any]:
    return {"repeat": {"times": times, "layers": list(layers)}}


def wired(layers: list[Any], style: str = "functional") -> tuple[list[Node], list[Complaint]]:
    return nodes_of(ModelSpec.model_validate({"style": style, "layers": layers}))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        # a name of its own, or its kind with a number from the second on
        (
            [CONV, CONV, "flatten", CONV],
            {"conv2d": ["input"], "conv2d_1": ["conv2d"], "flatten": ["conv2d_1"], "conv2d_2": ["flatten"]},
        ),
        ([named("stem"), CONV], {"stem": ["input"], "conv2d": ["stem"]}),
        # a number that is taken is passed over, wherever it stands
        (
            [CONV, CONV, CONV, named("conv2d_1")],
            {"conv2d": ["input"], "conv2d_2": ["conv2d"], "conv2d_3": ["conv2d_2"], "conv2d_1": ["conv2d_3"]},
        ),
        # branches and joins
        (
            [named("left", "input"), named("right", "input"), add("left", "right"), "flatten"],
            {"left": ["input"], "right": ["input"], "add": ["left", "right"], "flatten": ["add"]},
        ),
        ([named("a"), add("a", "input", "a")], {"a": ["input"], "add": ["a", "input", "a"]}),
        # repeats: names get the round, unnamed layers go on counting
        ([repeat(2, CONV), CONV], {"conv2d": ["input"], "conv2d_1": ["conv2d"], "conv2d_2": ["conv2d_1"]}),
        (
            [repeat(2, named("a"), named("b"), add("a", "b", name="out"))],
            {
                "a_1": ["input"], "b_1": ["a_1"], "out_1": ["a_1", "b_1"],
                "a_2": ["out_1"], "b_2": ["a_2"], "out_2": ["a_2", "b_2"],
            },
        ),
        # what stands outside is reached from inside, and the other way with its full name
        (
            [named("stem"), repeat(2, named("a"), add("a", "stem", name="out")), add("out_1", "out_2")],
            {
                "stem": ["input"], "a_1": ["stem"], "out_1": ["a_1", "stem"],
                "a_2": ["out_1"], "out_2": ["a_2", "stem"], "add": ["out_1", "out_2"],
            },
        ),
        # repeats in repeats: the nearest round first
        (
            [repeat(2, named("a"), repeat(2, named("b"), add("a", "b", name="out")))],
            {
                "a_1": ["input"],
                "b_1_1": ["a_1"], "out_1_1": ["a_1", "b_1_1"], "b_1_2": ["out_1_1"], "out_1_2": ["a_1", "b_1_2"],
                "a_2": ["out_1_2"],
                "b_2_1": ["a_2"], "out_2_1": ["a_2", "b_2_1"], "b_2_2": ["out_2_1"], "out_2_2": ["a_2", "b_2_2"],
            },
        ),
    ],
)  # fmt: skip
def test_names_and_inputs(layers: list[Any], expected: dict[str, list[str]]) -> None:
    nodes, complaints = wired(layers)
    assert complaints == []
    assert {node.name: list(node.inputs) for node in nodes} == expected
    assert [node.name for node in nodes] == list(expected), "in the order of computing"


def test_each_layer_knows_where_it_was_written() -> None:
    nodes, _ = wired([CONV, repeat(2, CONV, "flatten")])
    inside = ("model", "layers", 1, "repeat", "layers")
    assert [node.where for node in nodes] == [
        ("model", "layers", 0, "conv2d"),
        (*inside, 0, "conv2d"),
        (*inside, 1, "flatten"),
        (*inside, 0, "conv2d"),
        (*inside, 1, "flatten"),
    ]


def test_a_repeat_is_the_same_as_writing_its_layers_out() -> None:
    block = [CONV, "batch_normalization"]
    short, _ = wired([repeat(3, *block), "flatten"])
    long, _ = wired([*block * 3, "flatten"])
    assert [(n.name, n.layer, n.inputs) for n in short] == [(n.name, n.layer, n.inputs) for n in long]


@pytest.mark.parametrize(
    ("layers", "where", "message"),
    [
        (
            [named("a"), named("a")],
            (1, "activation", "name"),
            "'a' is the name of an earlier layer; names must be unique; remove it, or choose another",
        ),
        (
            [named("input")],
            (0, "activation", "name"),
            "'input' is the network's input; names must be unique; remove it, or choose another",
        ),
        ([named("a", "a")], (0, "activation", "inputs"), "'a' would be its own input: a cycle"),
        (
            [named("a", "b"), named("b")],
            (0, "activation", "inputs"),
            "'b' comes later, but a layer can only take outputs of layers above it",
        ),
        (
            [named("branch"), named("b", "brnach")],
            (1, "activation", "inputs"),
            "there is no layer 'brnach'; did you mean 'branch'?",
        ),
        (
            [named("a"), named("b", "zzz")],
            (1, "activation", "inputs"),
            "there is no layer 'zzz'; known: a, input",
        ),
        (
            [named("a"), named("b", "a", "input")],
            (1, "activation", "inputs"),
            "takes one input, received 2; join them with add or concatenate",
        ),
        (
            [named("lost"), named("b", "input")],
            (0, "activation"),
            "no layer takes the output of 'lost'; add it to the inputs of a layer, or remove it",
        ),
    ],
)
def test_wrong_wiring_is_named_where_it_stands(layers: list[Any], where: tuple[str | int, ...], message: str) -> None:
    _, complaints = wired(layers)
    assert complaints == [(("model", "layers", *where), message)]


def test_all_wrong_inputs_are_told_at_once() -> None:
    _, complaints = wired([named("a", "x1"), named("b", "x2"), add("a", "x3")])
    assert [message.split(";")[0] for _, message in complaints] == [
        "there is no layer 'x1'",
        "there is no layer 'x2'",
        "there is no layer 'x3'",
    ]


def test_a_sequential_stack_that_branches_is_refused_with_the_remedy() -> None:
    _, complaints = wired([named("a"), named("b"), add("a", "b")], "sequential")
    message = "takes a, b, but in a sequential model each layer takes the one before (b); write style: functional under model, or subclass"
    assert complaints == [(("model", "layers", 2, "add"), message)]


def test_a_sequential_stack_may_name_the_inputs_it_has_anyway() -> None:
    _, complaints = wired([named("a", "input"), named("b", "a")], "sequential")
    assert complaints == []


def test_a_stack_without_a_layer_hands_its_input_on() -> None:
    nodes, _ = wired([named("a"), named("b"), add("b", "a")])
    assert [(node.name, node.inputs) for node in without(nodes, nodes[1].where)] == [
        ("a", ("input",)),
        ("add", ("a", "a")),
    ]


def test_a_layer_moved_below_another_takes_its_output_and_hands_it_on() -> None:
    nodes, _ = wired([named("a"), named("b"), named("c"), add("c", "b")])
    a, _, c, _ = nodes
    assert [(node.name, node.inputs) for node in below(nodes, a, c)] == [
        ("b", ("input",)),
        ("c", ("b",)),
        ("a", ("c",)),
        ("add", ("a", "b")),
    ]


def test_a_layer_that_a_repeat_builds_is_not_moved() -> None:
    nodes, _ = wired(["flatten", repeat(2, CONV)])
    assert below(nodes, nodes[0], nodes[1]) == []

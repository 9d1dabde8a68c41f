"""The worked case of `verify --explain`: every number in it is what its line says."""

from __future__ import annotations

import re

import pytest

from cnnctl.verify.differentiation import worked_case

CASE = worked_case()


def numbers(pattern: str) -> list[float]:
    found = re.search(pattern, CASE)
    assert found, pattern
    return [float(group) for group in found.groups()]


def test_the_values_go_forward_and_the_adjoints_backward() -> None:
    assert numbers(r"u = b·c +=.*= (\S+)\n +v = a \+ u = .*= (\S+)\n +J = 3·v.*= (\S+)") == [6, 11, 33]
    expected = {"J": 1, "v": 3, "u": 3, "a": 3, "b": 6, "c": 9}
    assert {name: numbers(rf"  dJ/d{name} = .*?(\S+)\n")[0] for name in expected} == expected


@pytest.mark.parametrize(("name", "derivative"), [("a", 3), ("b", 6), ("c", 9)])
def test_three_ways_give_the_same_derivative(name: str, derivative: float) -> None:
    symbolic, numerical, automatic = numbers(rf"dJ/d{name}  (?:3·. = )?(\d+) +(\d+\.\d+) +(\d+)\n")
    assert (symbolic, automatic) == (derivative, derivative)
    assert numerical == pytest.approx(derivative, abs=1e-8)


def test_a_step_too_large_and_one_too_small_are_worse_than_one_between() -> None:
    large, middle, small = (numbers(rf"{step}  +\S+ +(\S+)\n")[0] for step in ("1e-01", "1e-05", "1e-12"))
    assert large == pytest.approx(1e-2)
    assert middle < 1e-8 < small


def test_tapes_inside_tapes_and_persistent_ones_give_the_derivatives_of_powers_of_three() -> None:
    assert numbers(r"3·x² = (\S+)\n +second = 6·x +=\s+(\S+) ") == [27, 18]
    assert numbers(r"2·x = (\S+) and 4·x³ = (\S+) ") == [6, 108]
    assert "A non-persistent GradientTape can only be used to" in CASE


def test_the_tape_watches_trained_variables_and_what_it_is_told() -> None:
    table = dict(re.findall(r"^  (a .*?) {2,}(\S+)$", CASE, flags=re.M))
    assert table == {
        "a tf.Variable": "6",
        "a tf.Variable with trainable=False": "None",
        "a tensor": "None",
        "a tensor after tape.watch(x)": "6",
    }


def test_what_it_would_cost_a_network_is_said_with_its_weights() -> None:
    assert "For the 1,500 weights of this network: 3,000 evaluations" in " ".join(worked_case(1500).split())
    assert "network" not in CASE


def test_no_line_is_longer_than_a_page() -> None:
    assert max(map(len, worked_case(1_000_000).splitlines())) <= 80

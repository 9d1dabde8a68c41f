"""Sentences about dense layers, activations and dropout."""

from __future__ import annotations

from math import prod

from cnnctl.report.explain.subject import Subject, axis_name
from cnnctl.spec import layers as L


def weighted(subject: Subject) -> list[str]:
    """Explain a dense layer."""
    facts = subject.facts
    inputs, units = facts.input_shapes[0][-1], facts.output_shape[-1]
    bias = f" + {units}" if isinstance(subject.node.layer, L.Dense) and subject.node.layer.use_bias else ""
    rank = len(facts.output_shape)
    along = f" along the last axis, the {axis_name(rank, rank, subject.context)}s" if rank > 1 else ""
    places = prod(facts.output_shape[:-1])
    where = f"at each of {places:,} positions, with the same weights, " if places > 1 else ""
    return [
        f"{where}every output is connected to every input{along}: {inputs}·{units}{bias} = {facts.parameters:,} parameters, "
        f"{_share(facts.parameters, subject.total)} of all"
    ]


def _share(part: int, whole: int) -> str:
    """Format a share in percent; 0 and 100 only if exact."""
    if part < whole and part / whole > 0.995:
        return "more than 99%"
    return f"{part / whole:.0%}" if part / whole >= 0.005 else "less than 1%"

"""Sentences about layers of one's own."""

from __future__ import annotations

import re

from cnnctl.report.explain.subject import Subject
from cnnctl.report.explain.windows import field_lines
from cnnctl.spec import layers as L
from cnnctl.spec.meanings import summary_of


def of_ones_own(layer: L.CustomLayer, subject: Subject) -> list[str]:
    """Say what a class says of itself: its first line, its parameters and costs, and what it leaves open."""
    facts, own = subject.facts, layer.own
    parameters = f"{facts.trainable:,} trained" + (f", {facts.non_trainable:,} not trained" if facts.non_trainable else "")
    macs = f"{facts.macs:,}, as its method macs counts" if facts.macs_known else "unknown: the class has no method macs"
    field = field_lines(subject.receptive) if subject.receptive else ["receptive field: unknown"]
    return [
        re.sub(r"\.$", "", summary_of(type(layer))),
        f"a layer of one's own: class {own.name}, {own.place}; its shape is what compute_output_shape returns",
        f"parameters, of the built layer: {parameters}",
        f"MACs: {macs}",
        *field,
    ]

"""Blocks in an explanation: the layers of the first use with these shapes, a line for later equal ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from cnnctl.errors import counted
from cnnctl.report.explain.subject import Subject, wrapped
from cnnctl.report.explain.windows import field_lines
from cnnctl.spec.groups import Group
from cnnctl.spec.shapes import Shape, show_shape
from cnnctl.spec.stack import Node

Key = tuple[str, str, tuple[Shape, ...]]
"""The name of a block, its arguments, and the shapes of its inputs: equal keys have equal layers."""

SUMMED = "Their gradient is the sum of the gradients of all uses."


def shared_line(owner: Subject) -> str:
    """Say whose weights a layer uses, and what that means for their gradient."""
    if not owner.facts.parameters:
        return f"{owner.node.name} once more, on another input; it has no weights."
    return f"It uses the weights of {owner.node.name}, which are counted there. {SUMMED}"


class Paragraphs:
    """Writes the paragraphs of layers and blocks.

    Args:
        subjects: the layers by name.
        paragraph: explains a layer, given the layer whose weights it uses.
    """

    def __init__(self, subjects: Mapping[str, Subject], paragraph: Callable[[Subject, Subject | None], str]) -> None:
        self._subjects = subjects
        self._paragraph = paragraph
        self._first: dict[Key, str] = {}

    def of(self, items: Sequence[Node | Group]) -> Iterator[str]:
        """Yield a paragraph for each layer, and one for each row of equal blocks after the first."""
        for as_before, row in groupby(items, self._as_before):
            if as_before:
                yield self._later([item for item in row if isinstance(item, Group)], *as_before)
                continue
            for item in row:
                if isinstance(item, Group):
                    yield from self._block(item)
                else:
                    yield self._paragraph(self._subjects[item.name], self._subjects.get(item.shares))

    def _as_before(self, item: Node | Group) -> tuple[str, str] | None:
        """Return the name of an equal block that is explained already, and that of the block whose weights are used."""
        if not isinstance(item, Group):
            return None
        key = self._key(item)
        if key in self._first:
            return self._first[key], item.shares
        self._first[key] = item.name
        return None

    def _key(self, block: Group) -> Key:
        return block.kind, repr(block.use.arguments), self._shapes(block)

    def _shapes(self, block: Group) -> tuple[Shape, ...]:
        shapes = {
            name: shape
            for node in block.nodes
            for name, shape in zip(node.inputs, self._subjects[node.name].facts.input_shapes, strict=True)
        }
        return tuple(shapes[name] for name in block.inputs)

    def _block(self, block: Group) -> Iterator[str]:
        count = counted(len(list(block.nodes)), "layer")
        weights = f", with the weights of {block.shares}" if block.shares else ""
        yield wrapped(f"{self._headline(block)}, a block of {count}{weights}.", indent="")
        yield from self.of(block.items)

    def _headline(self, block: Group) -> str:
        kind = f" ({block.kind})" if block.title.endswith(")") else ""
        output = self._subjects[block.output].facts.output_shape
        return f"{block.name}{kind}: {' and '.join(map(show_shape, self._shapes(block)))} → {show_shape(output)}"

    def _later(self, blocks: Sequence[Group], first: str, shares: str) -> str:
        """Write a line for equal blocks in a row."""
        names = ", ".join(block.name for block in blocks)
        has_weights = any(self._subjects[node.owner].facts.parameters for node in blocks[0].nodes)
        weights = f", with weights of {'its' if len(blocks) == 1 else 'their'} own" if has_weights else ""
        if shares and has_weights:
            weights = f", with the weights of {shares}, which are counted there. {SUMMED}"
        of_last = "" if len(blocks) == 1 else "of the last, "
        reached = [f"{of_last}{line}" for line in field_lines(self._subjects[blocks[-1].output].receptive)]
        return "\n".join([wrapped(f"{names}: as {first}{weights}".rstrip(".") + ".", indent=""), *map(wrapped, reached)])

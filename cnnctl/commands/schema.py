"""`cnnctl schema`: print the JSON Schema of a config, or explain the fields below one path."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from textwrap import wrap

from cnnctl.report import tables
from cnnctl.report.console import Console
from cnnctl.spec.reference import REQUIRED, Field, fields_below, meaning_of_path
from cnnctl.spec.schema import json_schema

COLUMNS = ("field", "type", "default", "meaning")
PIPE_WIDTH = 100
TYPE_WIDTH = 26
MIN_MEANING = 24
"""Columns for meanings; in a narrower terminal each field is a paragraph instead of a row."""


def schema(path: str | None, form: str, console: Console) -> None:
    """Print the JSON Schema, or one row per field below a path.

    Args:
        path: such as `train.optimizer.adam` or `model.layers.conv2d`; None for the JSON Schema of a config.
        form: `table` or `json`. The JSON Schema is always JSON.
        console: prints results and messages.

    Raises:
        UsageError: the path does not exist.
    """
    if path is None:
        console.result(tables.as_json(json_schema()))
        return
    fields = fields_below(path)
    if form == "json":
        console.result(tables.as_json([asdict(each) for each in fields]))
    else:
        console.result(_table(path, fields))


def _table(path: str, fields: Sequence[Field]) -> str:
    """Return a table with the path and its meaning above it: the fields below it have their last names."""
    names = [each.path.rpartition(".")[2] for each in fields]
    defaults = ["\n".join(wrap(each.default, TYPE_WIDTH)) for each in fields]
    types = ["\n".join(wrap(each.type, TYPE_WIDTH)) for each in fields]
    headed = zip(COLUMNS, (names, types, defaults), strict=False)
    taken = sum(max(len(line) for cell in (heading, *cells) for line in cell.split("\n")) + 2 for heading, cells in headed)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH
    room = width - taken
    head = "\n".join([path, *wrap(meaning_of_path(path), width)])
    if room < MIN_MEANING:
        return "\n\n".join([head, *(_paragraph(name, each, width) for name, each in zip(names, fields, strict=True))])
    meanings = ["\n".join(wrap(each.meaning, room)) for each in fields]
    rows = list(zip(names, types, defaults, meanings, strict=True))
    return f"{head}\n\n{tables.text_table(COLUMNS, rows, left=4)}"


def _paragraph(name: str, field: Field, width: int) -> str:
    default = {"": "", REQUIRED: f", {REQUIRED}"}.get(field.default, f", default {field.default}")
    head = wrap(f"{name}: {field.type}{default}", width, subsequent_indent="    ")
    return "\n".join([*head, *wrap(field.meaning, width, initial_indent="    ", subsequent_indent="    ")])

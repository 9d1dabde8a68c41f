"""The summary as table, Markdown and JSON: golden files, and sums that do not depend on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnctl.report.rows import Summary, summarize
from cnnctl.report.tables import PAGE_WIDTH, show_bytes, summary_json, summary_markdown, summary_table, text_table, totals
from cnnctl.spec.load import load
from tests.custom import use_layers_of

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
SHOWN = ("mnist", "batchnorm", "residual")


def summary_of(name: str, *overrides: str, batch_size: int = 1) -> Summary:
    return summarize(load(ROOT / "configs" / f"{name}.yaml", overrides), batch_size)


@pytest.mark.parametrize("name", SHOWN)
def test_the_summary_is_drawn_as_in_the_golden_files(name: str, golden: Callable[[Path, str], None]) -> None:
    summary = summary_of(name)
    golden(GOLDEN / f"summary-{name}.txt", "\n".join([summary_table(summary), "", *totals(summary)]))
    golden(GOLDEN / f"summary-{name}.md", summary_markdown(summary))
    golden(GOLDEN / f"summary-{name}.json", summary_json(summary))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_the_rows_sum_to_the_totals(config: Path) -> None:
    summary: dict[str, Any] = json.loads(summary_json(summarize(load(use_layers_of(config)))))
    layers, total = summary["layers"], summary["total"]
    for name in ("parameters", "trainable_parameters", "macs", "activation_bytes"):
        assert sum(layer[name] for layer in layers) == total[name]
    assert total["trainable_parameters"] + total["non_trainable_parameters"] == total["parameters"]


def test_table_and_markdown_show_the_numbers_of_the_json() -> None:
    summary = summary_of("batchnorm")
    for text in (summary_table(summary), summary_markdown(summary)):
        rows = [line.replace("|", " ").split() for line in text.splitlines()]
        for layer in json.loads(summary_json(summary))["layers"]:
            row = " ".join(next(row for row in rows if row and row[0] == layer["name"]))
            assert f"({', '.join(map(str, layer['output_shape']))})" in row
            assert "×".join(map(str, layer["receptive_field"])) in row
            if layer["macs"]:
                assert f"{layer['macs']:,}" in row
            if layer["type"] == "batch_normalization":
                assert "64 + 64" in row


def test_memory_counts_the_bytes_of_a_value_and_the_images_of_a_batch() -> None:
    values = 26 * 26 * 32 + 13 * 13 * 32 + 11 * 11 * 64 + 5 * 5 * 64 + 1600 + 1600 + 10
    assert summary_of("mnist").activation_bytes == 4 * values
    assert summary_of("mnist", batch_size=128).activation_bytes == 128 * 4 * values
    assert (
        summary_of("mnist", "train.precision=mixed_bfloat16").activation_bytes == 2 * values + 20
    )  # the last layer keeps float32
    assert totals(summary_of("mnist", batch_size=1000))[2] == "158.4 MB for the outputs of all layers per batch of 1,000"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (84_500, "84.5 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (2_345_000_000, "2.3 GB"),
        (10**12, "1.0 TB"),
        (5 * 10**16, "50000.0 TB"),
    ],
)
def test_bytes_are_shown_in_the_unit_that_gives_few_digits(count: int, text: str) -> None:
    assert show_bytes(count) == text


def test_texts_stand_left_numbers_right_and_cells_may_have_two_lines() -> None:
    drawn = text_table(("layer", "n"), [("a\n  from b", "1"), ("bb", "1,000")], left=1)
    assert drawn.splitlines() == [
        "layer         n",
        "─" * 15,
        "a             1",
        "  from b",
        "bb        1,000",
    ]


def test_a_table_too_wide_for_the_page_gives_up_its_gaps_first() -> None:
    fits, too_wide = (text_table(("a", "b"), [("x" * 40, "1" * digits)], left=1) for digits in (38, 39))
    assert fits.splitlines()[-1] == "x" * 40 + "  " + "1" * 38
    assert too_wide.splitlines()[-1] == "x" * 40 + " " + "1" * 39
    assert len(too_wide.splitlines()[-1]) == PAGE_WIDTH


def test_a_name_of_ones_own_tells_its_kind_and_a_branch_its_inputs() -> None:
    lines = [line.rstrip() for line in summary_table(summary_of("residual")).splitlines()]
    place = next(index for index, line in enumerate(lines) if line.startswith("residual/add"))
    assert lines[place + 1 : place + 3] == ["  from half,", "  change"]
    assert not any("from" in line for line in summary_table(summary_of("mnist")).splitlines())


def test_a_narrow_terminal_goes_without_columns_and_wraps_no_cell() -> None:
    summary = summary_of("mnist")
    lines = summary_table(summary, 60).split("\n")
    assert max(map(len, lines)) <= 60
    assert len(lines) == len(summary_table(summary).split("\n")) + 1
    assert lines[-1].startswith("(too narrow for stride")
    assert summary_table(summary, 80) == summary_table(summary)

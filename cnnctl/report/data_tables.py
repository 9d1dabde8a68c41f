"""Format the report of `cnnctl data` from its plain facts, which are also its JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import wrap
from typing import Any

from cnnctl.errors import counted
from cnnctl.report.data_advice import advice
from cnnctl.report.tables import PAGE_WIDTH, markdown_table, text_table
from cnnctl.report.text import printable

Facts = Mapping[str, Any]
Entry = tuple[str, str]
"""A key and its text."""
Table = tuple[Sequence[str], list[list[str]]]

MAX_LISTED = 20
"""Most classes with a row each."""
FEW = 5
"""Most names and examples shown."""
KEY_WIDTH = 12
_UNITS = {"class": "its classes", "group": "its groups"}
"""The units that are held out of train, by `data.hold_out`."""


def dataset_text(facts: Facts) -> str:
    """Format the facts for a terminal."""
    return _document(facts, _paragraph, lambda table: text_table(*table, left=1))


def dataset_markdown(facts: Facts) -> str:
    """Format the facts as Markdown."""
    return _document(facts, lambda entry: f"- {entry[0]}: {entry[1]}", lambda table: markdown_table(*table, left=1))


def not_read_lines(files: Sequence[Facts]) -> str:
    """Format a line per file that was not read, from its `file` and `why`."""
    why = max((len(each["why"]) for each in files), default=0)
    return "\n".join(f"not read  {each['why']:<{why}}  {printable(each['file'])}" for each in files)


def _document(facts: Facts, line: Callable[[Entry], str], draw: Callable[[Table], str]) -> str:
    def lines(entries: Sequence[Entry]) -> str:
        return "\n".join(map(line, entries))

    classes = [draw(_class_rows(facts))] if len(facts["classes"]) <= MAX_LISTED else []
    episodes = [draw(_episode_rows(facts))] if facts["episodes"] else []
    duplicates = [draw(_duplicate_rows(facts))] if facts["duplicates"] else []
    tables = [draw(_split_rows(facts)), *classes, lines(_about_classes(facts)), *episodes, *duplicates]
    advised = [("advice", each) for each in advice(facts)]
    return "\n\n".join([lines(_origin(facts)), *tables, lines([*_duplicates(facts), *advised])])


def _paragraph(entry: Entry) -> str:
    """Wrap an entry to 80 columns, unless a word is longer."""
    lines = wrap(entry[1], PAGE_WIDTH - KEY_WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"{word:<{KEY_WIDTH}}{line}" for word, line in zip([entry[0], *[""] * len(lines)], lines, strict=False))


def _origin(facts: Facts) -> list[Entry]:
    where = f"in {printable(facts['folder'])}" if facts["folder"] else "that come with scikit-learn"
    named = " ".join(filter(None, (facts["source"], facts["name"])))
    inverted = ", inverted" if facts["inverted"] else ""
    return [
        ("source", f"{named} {where}"),
        ("images", _shape(facts["image_shape"]) + _as_they_were(facts) + inverted),
        ("splits", "; ".join(_taken_from(name, facts) for name in facts["splits"])),
        *_groups(facts),
        *(("note", printable(note)) for note in facts["notes"]),
    ]


def _shape(shape: Sequence[int | None]) -> str:
    return "×".join("?" if size is None else str(size) for size in shape)


def _as_they_were(facts: Facts) -> str:
    which = "the first in the source" if facts["source"] in ("folder", "parquet") else "in the source"
    return f", {which} {_shape(facts['source_shape'])}" if facts["source_shape"] != facts["image_shape"] else f" as {which}"


def _taken_from(name: str, facts: Facts) -> str:
    """Format the part of a split: `train: rest of 'train'`, then `validation: 10% of it`."""
    part = facts["splits"][name]["part"]
    if isinstance(part, float):
        return f"{name}: {100 * part:.4g}% of {_UNITS.get(facts['hold_out'], 'it')}"
    if not isinstance(part, str):
        return f"{name}: of {_UNITS[facts['hold_out']]} {_quoted(part)}"
    rest = name == "train" and any(not isinstance(split["part"], str) for split in facts["splits"].values())
    return f"{name}: {'rest of ' if rest else ''}'{printable(part)}'"


def _groups(facts: Facts) -> list[Entry]:
    """List all groups of each split, since they may be drawn at random."""
    of_splits = facts["groups"] or {}
    return [("groups", f"{name}: {_quoted(groups, most=len(groups))}") for name, groups in of_splits.items()]


def _split_rows(facts: Facts) -> Table:
    columns = ("split", "images", "classes", "fewest", "median", "most", "mean", "spread", "blank")
    return columns, [
        [
            name,
            f"{split['images']:,}",
            f"{split['classes']:,}",
            f"{split['balance']['fewest']:,}",
            f"{split['balance']['median']:,.5g}",
            f"{split['balance']['most']:,}",
            _per_channel(split["pixels"], "mean"),
            _per_channel(split["pixels"], "standard_deviation"),
            f"{len(split['blank']):,}",
        ]
        for name, split in facts["splits"].items()
    ]


def _per_channel(pixels: Facts, key: str) -> str:
    """Format a number per channel, one below the other; a single one if all channels are equal."""
    return "\n".join(f"{value:.4f}" for value in (pixels[key][:1] if pixels["colourless"] else pixels[key]))


def _class_rows(facts: Facts) -> Table:
    none = "0" if facts["episodes"] is None else ""  # few-shot splits share no classes, so none is missing
    rows = [
        [printable(each["name"]), *(f"{count:,}" if count else none for count in each["images"].values())]
        for each in facts["classes"]
    ]
    return ("class", *facts["splits"]), rows


def _about_classes(facts: Facts) -> list[Entry]:
    return [
        ("balance", _balance(facts["splits"]["train"]["balance"])),
        *_baseline(facts),
        *_smallest_classes(facts),
        *_missing_classes(facts["splits"]),
        *(("blank", _some([*map(_place, split["blank"])])) for split in facts["splits"].values() if split["blank"]),
        *_turns(facts),
    ]


def _baseline(facts: Facts) -> list[Entry]:
    if facts["baseline"] is None:
        return []
    largest = printable(facts["splits"]["train"]["balance"]["largest"])
    return [("baseline", f"always predicting '{largest}' is right for {facts['baseline']:.2%} of the test images")]


def _turns(facts: Facts) -> list[Entry]:
    if facts["turns"] == 1:
        return []
    classes = facts["splits"]["train"]["classes"]
    turned = f"{classes:,} classes in {facts['turns']} poses each are {classes * facts['turns']:,} classes to train on"
    return [("poses", turned)]


def _episode_rows(facts: Facts) -> Table:
    columns = ("episodes", "way", "at most", "shot + query", "at most")
    return columns, [
        [name, f"{each['way']:,}", f"{each['classes']:,}", f"{each['shot']:,} + {each['query']:,}", f"{each['images']:,}"]
        for name, each in facts["episodes"].items()
    ]


def _quoted(names: Sequence[str], most: int = FEW) -> str:
    return _some([f"'{printable(name)}'" for name in names], most)


def _balance(train: Facts) -> str:
    if train["fewest"] == train["most"]:
        return f"every class has {train['most']:,} train images"
    largest, smallest = printable(train["largest"]), printable(train["smallest"])
    return f"'{largest}' has {train['ratio']:.3g} times as many train images as '{smallest}'"


def _missing_classes(splits: Facts) -> list[Entry]:
    """List the classes without images; a class that train lacks is listed only for train."""
    unknown = set(splits["train"]["missing"])
    beyond = {
        name: [each for each in split["missing"] if name == "train" or each not in unknown] for name, split in splits.items()
    }
    if len(unknown) > MAX_LISTED:  # part of a dataset, which a note already reports
        beyond["train"] = []
    where = {"train": "all splits"}
    return [("missing", f"from {where.get(name, name)}: {_quoted(names)}") for name, names in beyond.items() if names]


def _smallest_classes(facts: Facts) -> list[Entry]:
    """List the classes with the fewest images if no table lists all classes.

    For few-shot tasks in each split, since they limit the size of episodes; else only in train.
    """
    if len(facts["classes"]) <= MAX_LISTED:
        return []
    splits = ["train"] if facts["episodes"] is None else list(facts["splits"])
    uneven = [name for name in splits if facts["splits"][name]["balance"]["fewest"] < facts["splits"][name]["balance"]["most"]]
    return [("fewest", _smallest(name, facts)) for name in uneven]


def _smallest(split: str, facts: Facts) -> str:
    fewest = facts["splits"][split]["balance"]["fewest"]
    names = [each["name"] for each in facts["classes"] if each["images"][split] == fewest]
    return f"{counted(fewest, split + ' image')}: {_quoted(names)}"


def _duplicate_rows(facts: Facts) -> Table:
    splits = facts["splits"]
    others = list(splits)[:-1]
    return ("duplicates", "within", *(f"in {other}" for other in others)), [
        [
            name,
            f"{split['repeated']:,}",
            *(f"{split['shared'][other]:,}" if other in split["shared"] else "" for other in others),
        ]
        for name, split in splits.items()
    ]


def _duplicates(facts: Facts) -> list[Entry]:
    if not facts["duplicates"]:
        return [("duplicates", "none; no pixel-identical images")]
    return [("such as", _equation(group)) for group in _examples(facts["duplicates"])]


def _examples(duplicates: Sequence[Sequence[Facts]]) -> list[Sequence[Facts]]:
    """Choose some images that occur more than once: those with different labels first, then those in different splits."""

    def order(places: Sequence[Facts]) -> tuple[bool, bool]:
        return len({place["class_name"] for place in places}) == 1, len({place["split"] for place in places}) == 1

    return sorted(duplicates, key=order)[:FEW]


def _equation(places: Sequence[Facts]) -> str:
    """Format where an image occurs: a place per split and label, at least two."""
    different = list({(place["split"], place["class_name"]): place for place in reversed(places)}.values())[::-1]
    shown = (different if len(different) > 1 else places[:2])[:FEW]
    more = len(places) - len(shown)
    return " = ".join(map(_place, shown)) + (f" and {more:,} more" if more else "")


def _place(place: Facts) -> str:
    return printable(f"{place['split']}: {place['file'] or _number(place)}")


def _number(place: Facts) -> str:
    of = "" if place["read_from"] == place["split"] else f" of '{place['read_from']}'"
    return f"image {place['index']}{of} ('{place['class_name']}')"


def _some(texts: Sequence[str], most: int = FEW) -> str:
    return ", ".join(texts) if len(texts) <= most else f"{', '.join(texts[:most])} and {len(texts) - most:,} more"

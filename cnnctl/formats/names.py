"""What the names of files, folders, arrays and columns mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from cnnctl.formats.part import Keys

ROLES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing", "t10k"),
}
IMAGE_WORDS = ("images", "image", "imgs", "img", "x", "data", "pixels")
"""What images are called; of several in one file, the first of these is taken."""
LABEL_WORDS = ("labels", "label", "targets", "target", "y")
ID_WORDS = (
    *("id", "ids", "index", "idx", "image_id", "imageid", "filename", "file_name", "path"),
    *("unnamed: 0", "__index_level_0__", ""),  # as pandas writes its own
)
"""Columns that number the rows or name their files: neither pixels nor labels."""
FEW = 10
"""Names that are listed in a message; of more, the first ones."""

MAX_CLASSES = 100_000
"""Classes that a file may name."""

_ROLE_OF_WORD = {word: role for role, words in ROLES.items() for word in words}
_YAML_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
"""What YAML reads as something else than a text."""
_T10K = re.compile(r"(?<![^\W\d_])t10k(?![^\W\d_])")
_WORD = re.compile(r"[^\W\d_]+")


def role_of(name: str) -> str | None:
    """Find the split that a name stands for: 'train', 'validation' or 'test'.

    A word counts only where it stands alone: 'mnist_train' and 'x-test2' have one, 'latest' and 'trainer' do not. A name
    with words of two splits stands for neither.
    """
    words = _WORD.findall(_T10K.sub("test", name.lower()))
    roles = {_ROLE_OF_WORD[word] for word in words if word in _ROLE_OF_WORD}
    return roles.pop() if len(roles) == 1 else None


def without_word(name: str, word: str) -> str | None:
    """Remove a word and the separator beside it from a name: 'train' for 'x_train' without 'x'; None if it is not in it."""
    found = re.search(rf"(?:^|(?<=[-_. ])){re.escape(word)}(?=[-_. ]|$)", name, re.IGNORECASE)
    if found is None:
        return None
    before, after = name[: found.start()], name[found.end() :]
    return before + after[1:] if before and after else before.rstrip("-_. ") or after.lstrip("-_. ")


def listed(names: Iterable[str]) -> str:
    """Join names for a message; of many, the first ones."""
    names = list(names)
    more = f" and {len(names) - FEW:,} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


def keys_of(keys: Keys, split: str) -> tuple[str, str] | None:
    """Choose the names that a config has for a split."""
    return keys.get(split) if isinstance(keys, Mapping) else keys


def keys_line(images: str, labels: str) -> str:
    """Write the line of a config that names images and labels."""
    return f"data.keys: [{_in_yaml(images)}, {_in_yaml(labels)}]"


def _in_yaml(name: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_][\w.-]*", name) and name.lower() not in _YAML_WORDS
    return name if plain else "'" + name.replace("'", "''") + "'"


def names_of_codes(rows: Iterable[Sequence[int]]) -> tuple[str, ...]:
    """Name classes as EMNIST does: each row has a label and the codes of its characters, so (1, 65, 97) is 'Aa' at place 1.

    Raises:
        ValueError: a label or a code is out of range.
    """
    names = {label: "".join(map(chr, codes)) for label, *codes in rows}
    if any(not 0 <= label < MAX_CLASSES for label in names):
        raise ValueError(f"it names a class outside 0 to {MAX_CLASSES - 1:,}")
    return tuple(names.get(label, "") for label in range(max(names, default=-1) + 1))

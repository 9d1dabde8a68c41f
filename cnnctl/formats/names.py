"""Interpret the names of files, folders, arrays and columns."""

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
"""Usual names of images, in order of precedence."""
LABEL_WORDS = ("labels", "label", "targets", "target", "y")
ID_WORDS = (
    *("id", "ids", "index", "idx", "image_id", "imageid", "filename", "file_name", "path"),
    *("unnamed: 0", "__index_level_0__", ""),  # index columns of pandas
)
"""Names of columns with row numbers or file names."""
FEW = 10
"""Maximum number of names in a message."""

MAX_CLASSES = 100_000
"""Maximum number of classes of a file."""

_ROLE_OF_WORD = {word: role for role, words in ROLES.items() for word in words}
_YAML_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
"""Words that YAML does not read as text."""
_T10K = re.compile(r"(?<![^\W\d_])t10k(?![^\W\d_])")
_WORD = re.compile(r"[^\W\d_]+")


def role_of(name: str) -> str | None:
    """Determine the split of a name: 'train', 'validation' or 'test'; None for other names.

    Only separate words count: 'mnist_train' and 'x-test2' contain one, 'latest' and 'trainer' do not. A name with words of
    two splits has none.
    """
    words = _WORD.findall(_T10K.sub("test", name.lower()))
    roles = {_ROLE_OF_WORD[word] for word in words if word in _ROLE_OF_WORD}
    return roles.pop() if len(roles) == 1 else None


def without_word(name: str, word: str) -> str | None:
    """Remove a word and its separator from a name, such as 'x' from 'x_train'; None where it does not occur."""
    found = re.search(rf"(?:^|(?<=[-_. ])){re.escape(word)}(?=[-_. ]|$)", name, re.IGNORECASE)
    if found is None:
        return None
    before, after = name[: found.start()], name[found.end() :]
    return before + after[1:] if before and after else before.rstrip("-_. ") or after.lstrip("-_. ")


def listed(names: Iterable[str]) -> str:
    """Join names for a message, at most FEW of them."""
    names = list(names)
    more = f" and {len(names) - FEW:,} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


def keys_of(keys: Keys, split: str) -> tuple[str, str] | None:
    """Select a config's names of images and labels for a split."""
    return keys.get(split) if isinstance(keys, Mapping) else keys


def keys_line(images: str, labels: str) -> str:
    """Write the config line that names images and labels."""
    return f"data.keys: [{_in_yaml(images)}, {_in_yaml(labels)}]"


def _in_yaml(name: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_][\w.-]*", name) and name.lower() not in _YAML_WORDS
    return name if plain else "'" + name.replace("'", "''") + "'"


def names_of_codes(rows: Iterable[Sequence[int]]) -> tuple[str, ...]:
    """Name classes from EMNIST's rows of a label and character codes: (1, 65, 97) is 'Aa' at position 1.

    Raises:
        ValueError: a label or a code is out of range.
    """
    names = {label: "".join(map(chr, codes)) for label, *codes in rows}
    if any(not 0 <= label < MAX_CLASSES for label in names):
        raise ValueError(f"it names a class outside 0 to {MAX_CLASSES - 1:,}")
    return tuple(names.get(label, "") for label in range(max(names, default=-1) + 1))

"""Pages of a script with lines that only some configs need.

A line that ends with `#? word` stands where the config needs what the word says, one with `#? !word`
where it does not; with several words all must hold. `$name` is replaced by a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Template

Needs = Mapping[str, bool]
"""What a config needs, by the words of the templates."""
MARK = "#?"


def written(template: str, needs: Needs, **values: object) -> str:
    """Return a template with the lines that are needed and its values."""
    lines = [line for each in template.strip("\n").split("\n") if (line := _kept(each, needs)) is not None]
    text = Template("\n".join(lines)).substitute(values).strip("\n")
    return re.sub("\n{4,}", "\n\n\n", text)  # where a function was left out


def _kept(line: str, needs: Needs) -> str | None:
    text, mark, words = line.partition(MARK)
    if not mark:
        return line
    holds = all(not needs[word[1:]] if word.startswith("!") else needs[word] for word in words.split())
    return text.rstrip() if holds else None

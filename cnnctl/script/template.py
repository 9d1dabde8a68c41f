"""Templates with conditional lines.

A line that ends with `#? flag` is included if the flag is true, a line with `#? !flag` if it is false; of several flags all
must hold. `$name` is replaced by a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Template

Needs = Mapping[str, bool]
"""Template flags by name."""
MARK = "#?"


def written(template: str, needs: Needs, **values: object) -> str:
    """Render a template with its flags and values."""
    lines = [line for each in template.strip("\n").split("\n") if (line := _included(each, needs)) is not None]
    text = Template("\n".join(lines)).substitute(values).strip("\n")
    return re.sub("\n{4,}", "\n\n\n", text)  # between functions one of which was left out


def _included(line: str, needs: Needs) -> str | None:
    text, mark, words = line.partition(MARK)
    if not mark:
        return line
    holds = all(not needs[word[1:]] if word.startswith("!") else needs[word] for word in words.split())
    return text.rstrip() if holds else None

"""Text that others wrote, such as file and class names, made safe to show."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Returns `text` with every control character, line break and lone byte as an escape such as `\x1b`.

    So a name can neither move the cursor nor break a table or a picture.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)

"""Corrections of a single line of YAML, one function per common typing error."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

_KEY = r"[A-Za-z_][\w.]*"
_ITEM = rf"^(\s*(?:- +)*{_KEY})"
_DASHES = "‐‑‒–—―−"
_DOUBLE_QUOTES, _SINGLE_QUOTES = "“”„‟«»", "‘’‚‛"
_CLOSES = {"{": "}", "[": "]"}

Slips = Iterator[tuple[str, str]]
"""Corrected lines, each with the mistake that it removes."""


def _odd_spaces(body: str) -> Slips:
    odd = [each for each in body if each != "\t" and (unicodedata.category(each) in ("Zs", "Cf") and each != " ")]
    if odd:
        cause = f"{_character(odd[0])} is used in place of a space"
        yield "".join(" " if each in odd else each for each in body), cause
        yield "".join("" if each in odd else each for each in body), f"{_character(odd[0])} is in this line"


def _tabs(body: str) -> Slips:
    if "\t" in body.strip():
        yield re.sub(r"(?<=\S)\t+", " ", body), "a tab is used in place of a space"


def _odd_dashes(body: str) -> Slips:
    odd = [each for each in body if each in _DASHES]
    if odd:
        plain = re.sub(rf"^(\s*)[{_DASHES}]\s*", r"\1- ", body)
        yield re.sub(f"[{_DASHES}]", "-", plain), f"{_character(odd[0])} is used in place of a hyphen"


def _odd_quotes(body: str) -> Slips:
    odd = [each for each in body if each in _DOUBLE_QUOTES + _SINGLE_QUOTES]
    if odd:
        straight = re.sub(f"[{_DOUBLE_QUOTES}{_SINGLE_QUOTES}]", '"', body)
        yield straight, f"{_character(odd[0])} is used in place of a straight quote"


def _odd_colon(body: str) -> Slips:
    if "：" in body:
        yield re.sub(r"：\s*", ": ", body), f"{_character('：')} is used in place of a colon"


def _no_space_after_colon(body: str) -> Slips:
    new = re.sub(rf"{_ITEM}:(?=\S)", r"\1: ", body)
    new = re.sub(rf"([{{,]\s*{_KEY}):(?=[^\s,}}])", r"\1: ", new)
    if new != body:
        yield new, "there is no space after a colon"


def _no_space_after_dash(body: str) -> Slips:
    new = re.sub(r"^(\s*)-(?=[^\s-])", r"\1- ", body)
    if new != body:
        yield new, "there is no space after the dash"


def _no_space_before_comment(body: str) -> Slips:
    if re.search(r"\S#", body):
        yield re.sub(r"(?<=\S)#.*", "", body), "there is no space before #, which starts a comment"


def _equals(body: str) -> Slips:
    new = re.sub(rf"{_ITEM}\s*=\s*(?=\S)", r"\1: ", body)
    new = re.sub(rf"([{{,]\s*{_KEY})\s*=\s*", r"\1: ", new)
    if new != body:
        yield new, "an equals sign is used in place of a colon"


def _no_colon(body: str) -> Slips:
    new = re.sub(rf"{_ITEM} +(?=[^\s:=])", r"\1: ", body) if not re.match(rf"{_ITEM}\s*:", body) else body
    new = re.sub(rf"([{{,]\s*{_KEY}) +(?=[\w.'\"\[{{-])", r"\1: ", new)
    if new != body:
        yield new, "a colon is missing"
    if re.fullmatch(rf"\s*(- +)?{_KEY}", body):
        yield f"{body}:", "the colon is missing"


def _no_comma(body: str) -> Slips:
    new = re.sub(rf"(?<=[\w\]}}\"'])\s*;?\s+(?={_KEY}\s*:\s)", ", ", body.replace(";", " "))
    if new != body and "{" in body:
        yield new, "a comma is missing"


def _no_dash(body: str) -> Slips:
    if not body.lstrip().startswith("-"):
        yield re.sub(r"^(\s*)", r"\1- ", body), "the dash of a list item is missing"


def _brackets(body: str) -> Slips:
    """Yield the line with balanced brackets: closed at the end, opened after the key, or without the extra one."""
    open_ = _unclosed(body)
    if open_ is None:
        for place in [place for place, each in enumerate(body) if each in "}]"]:
            wrong = body[place]
            other = "]" if wrong == "}" else "}"
            yield body[:place] + other + body[place + 1 :], f"{wrong} closes what another bracket opened"
            yield body[:place] + body[place + 1 :], f"there is one {wrong} too many"
        for opens, closes in _CLOSES.items():
            for space in re.finditer(r"(?<=[:-]) +", body) if closes in body else ():
                yield body[: space.end()] + opens + body[space.end() :], f"the opening {opens} is missing"
    elif open_:
        closing = "".join(_CLOSES[each] for each in reversed(open_))
        cause = f"{open_[-1]} is not closed"
        yield body + closing, cause
        for place in range(len(body) - 1, 0, -1):  # closed earlier, as in [{a: [1, 2}]
            if body[place] in ",}]":
                yield body[:place] + closing + body[place:], cause
        yield body.replace(open_[-1], "", 1), f"there is one {open_[-1]} too many"


def _unclosed(body: str) -> str | None:
    """Return the brackets that a line leaves open; None if it closes one that is not open."""
    open_ = ""
    for each in re.sub(r"\"[^\"]*\"|'[^']*'", "", body):
        if each in _CLOSES:
            open_ += each
        elif each in _CLOSES.values():
            if not open_ or _CLOSES[open_[-1]] != each:
                return None
            open_ = open_[:-1]
    return open_


def _quote_not_closed(body: str) -> Slips:
    for quote in "\"'":
        if body.count(quote) % 2:
            cause = f"{quote} is not closed"
            yield re.sub(rf"{quote}([^{quote},}}\]]*)(?=[,}}\]]|$)", rf"{quote}\1{quote}", body), cause
            yield body.replace(quote, ""), cause


def _backslashes(body: str) -> Slips:
    if re.search(r'"[^"]*\\[^"]*"', body):
        yield re.sub(r'"([^"\']*)"', r"'\1'", body), "a backslash in double quotes starts an escape sequence"


def _begins_oddly(body: str) -> Slips:
    """Quote a value that starts with a YAML indicator, or contains a colon and a space."""
    match = re.match(rf"{_ITEM}: +([^\s'\"{{\[].*)$", body)
    if match and "'" not in match[2]:
        if re.match(r"[@`%!|>?]|[*&]\W", match[2]):
            yield f"{match[1]}: '{match[2]}'", f"a text that starts with {match[2][0]} needs quotes"
        elif ": " in match[2]:
            yield f"{match[1]}: '{match[2]}'", "a text that contains a colon and a space needs quotes"


_NO_TEXT = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?|true|false|null|\[.*\]|\{.*\}")
"""Values that are not a text without quotes: numbers, booleans, null, lists and mappings."""


def quoted(body: str) -> Slips:
    """Yield the line without the quotes around a value that is not a text."""
    for match in re.finditer(r"([\"'])([^\"']+)\1", body):
        if _NO_TEXT.fullmatch(match[2]):
            yield body[: match.start()] + match[2] + body[match.end() :], f"{match[0]} in quotes is a text"


SLIPS: Sequence[Callable[[str], Slips]] = (
    _odd_spaces, _odd_dashes, _odd_quotes, _odd_colon, _tabs, _no_space_after_colon, _no_space_after_dash, _equals,
    _no_space_before_comment, _quote_not_closed, quoted, _brackets, _no_comma, _no_colon, _backslashes, _begins_oddly, _no_dash,
)  # fmt: skip
"""All slips, the most certain cause first: ties between changes go to the first."""


def _character(each: str) -> str:
    """Name a character that looks like another, with its article: `an en dash (U+2013)`."""
    name = "non-breaking space" if each == "\xa0" else unicodedata.name(each, "character").lower()
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name} (U+{ord(each):04X})"


def split_comment(line: str) -> tuple[str, str]:
    """Split a line into its content, and its comment with the spaces before it."""
    match = re.match(r"((?:\"[^\"]*\"|'[^']*'|\S|(?!\s+#)\s)*)(.*)", line)
    assert match
    body = match[1].rstrip(" ")
    return body, line[len(body) :]

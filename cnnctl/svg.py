"""Write SVG pictures for light and dark pages, with text that can be selected; no library needed.

Colours are CSS classes, so that a picture follows the page it is shown on. They are those of Okabe and Ito, "Color Universal
Design" (2008), which colour-blind people can distinguish; the dark ones are lightened.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

LIGHT = {
    "paper": "#ffffff", "ink": "#1f2933", "faint": "#5f6b7a", "line": "#c3cbd5", "blue": "#0072b2", "orange": "#d55e00",
    "green": "#00795a", "purple": "#a8477f", "yellow": "#9a6a00", "sky": "#2b8cc4", "grey": "#7b8794",
}  # fmt: skip
DARK = {
    "paper": "#12181f", "ink": "#e6ebf0", "faint": "#a3b0bf", "line": "#445161", "blue": "#56b4e9", "orange": "#f0894a",
    "green": "#3fc79f", "purple": "#dd97bd", "yellow": "#e6b84a", "sky": "#8fd0f5", "grey": "#9aa7b5",
}  # fmt: skip
"""Colours by name. The class `blue` fills a shape or a text with blue, `blue-line` draws its outline alone in blue, and
`blue-edge` gives a filled shape a blue outline."""

FONT = "system-ui, -apple-system, Roboto, Arial, sans-serif"

CHARACTER = 6.9
"""Width of a character of 13 px, in pixels; an estimate for a mixed text in any common sans-serif font."""


def element(name: str, content: str | Iterable[str] = "", **attributes: object) -> str:
    """Write an element; `content` is SVG already, and attributes are escaped.

    Args:
        name: such as `rect`.
        content: the elements inside.
        attributes: `stroke_width=2` is written as `stroke-width="2"`, `class_="ink"` as `class="ink"`; None is left out.
    """
    inner = content if isinstance(content, str) else "".join(content)
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>"


def text(x: float, y: float, content: object, colour: str = "ink", **attributes: object) -> str:
    """Write a line of text, escaped, at its baseline; `text_anchor="middle"` centres it."""
    return element("text", escape(str(content)), x=x, y=y, class_=colour, **attributes)


def width_of(words: str, size: float = 13) -> float:
    """Estimate the width of a text in pixels."""
    return len(words) * CHARACTER * size / 13


def cut(words: str, width: float, size: float = 13) -> str:
    """Shorten a text in its middle to a width in pixels: the start and the end name a path best."""
    if width_of(words, size) <= width:
        return words
    most = int(width / width_of(" ", size))
    end = most // 2
    return f"{words[: most - 1 - end]}…{words[len(words) - end :]}"


def picture(
    width: float,
    height: float,
    parts: Iterable[str],
    title: str,
    description: str = "",
    theme: str = "auto",
    style: str = "",
) -> str:
    """Write a whole picture.

    Args:
        width, height: in pixels; a page may scale it.
        parts: the elements.
        title: for screen readers and for tooltips.
        description: for screen readers: what can be seen.
        theme: `auto` follows the page that shows it; `light` or `dark` is fixed, for viewers without media queries.
        style: more CSS, such as animations.
    """
    about = element("title", escape(title)) + (element("desc", escape(description)) if description else "")
    paper = element("rect", width="100%", height="100%", class_="paper")
    return element(
        "svg",
        ["\n", about, "\n", element("style", _style(theme) + style), "\n", paper, "\n", "\n".join(parts), "\n"],
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_number(width)} {_number(height)}",
        width=width,
        height=height,
        role="img",
        font_family=FONT,
        font_size=13,
    )


def _style(theme: str) -> str:
    if theme != "auto":
        return _rules({"light": LIGHT, "dark": DARK}[theme])
    return f"{_rules(LIGHT)}@media (prefers-color-scheme: dark){{{_rules(DARK)}}}"


def _rules(colours: dict[str, str]) -> str:
    return "".join(
        f".{name}{{fill:{colour}}}.{name}-line{{stroke:{colour};fill:none}}.{name}-edge{{stroke:{colour}}}"
        for name, colour in colours.items()
    )


def _number(value: object) -> str:
    """Write numbers without needless digits, so that the same picture is the same file everywhere."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)

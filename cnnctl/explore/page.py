"""Write the HTML of an explore page: the page's own script and style, the data, and a policy that forbids everything else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnctl.explore.bundle import FOLDER, joined_script, joined_style

FORMAT = 1
"""Version of the data that the page's script reads."""
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""Inside a script element `</script` and `<!--` are markup; as JSON escapes they are text."""


def page_of(data: Mapping[str, Any], weights: bytes, folder: Path = FOLDER) -> bytes:
    """Create the whole page.

    The page may run its own script and style, identified by their hashes, and show images that it made itself. It may load,
    connect to or embed nothing: no policy directive allows it.

    Args:
        data: JSON types, as `page_data` makes them.
        weights: the weight sets one after the other, little-endian float32.
        folder: with the page's own files.

    Raises:
        ValueError: the data has NaN or infinite numbers, or the page's own files cannot be joined.
    """
    script, style = joined_script(folder), joined_style(folder)
    parts = {
        "policy": html.escape(policy_of(script, style)),
        "title": html.escape(f"{data['title']} · cnnctl explore"),
        "style": style,
        "data": as_json_text(data),
        "weights": base64.b64encode(weights).decode(),
        "script": script,
    }
    return filled((folder / "index.html").read_text(encoding="utf-8"), parts).encode()


def filled(template: str, parts: Mapping[str, str]) -> str:
    """Replace each `{{name}}` of a template once, from left to right, so that braces inside of a part stay as they are."""
    done, rest = [], template
    while rest:
        before, found, rest = rest.partition("{{")
        done.append(before)
        if found:
            name, _, rest = rest.partition("}}")
            done.append(parts[name])
    return "".join(done)


def policy_of(script: str, style: str) -> str:
    """Write the content security policy that allows one script and one style sheet, and no access to a network."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    """Compute the hash of the text of an element as a source of a policy: CSP level 3, section 2.3.1."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def as_json_text(data: Mapping[str, Any]) -> str:
    """Format data as JSON in ASCII that can be in a script element: no character of it is markup.

    Raises:
        ValueError: a number is NaN or infinite, which JSON has not.
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return "".join(_ESCAPES.get(character, character) for character in text)

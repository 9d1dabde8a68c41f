"""A headless Chromium that a test drives through its DevTools pipe; nothing beside Debian's `chromium` is needed.

The protocol: https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1100",
    "--remote-debugging-pipe",
]
ALL_TEXT = """
(() => {
  const text = (node) => {
    if (node.nodeType === Node.TEXT_NODE) return node.data.trim();
    if (["SCRIPT", "STYLE", "TEMPLATE", "DOM-MODULE"].includes(node.nodeName)) return "";
    const children = [...(node.shadowRoot ? node.shadowRoot.childNodes : []), ...node.childNodes];
    return children.map(text).filter((part) => part).join("\\n");
  };
  return text(document.body);
})()
"""
"""What a page says, inside its web components too."""


@dataclass
class Events:
    """What happened in a page since it was opened.

    Attributes:
        errors: of the console, exceptions that nobody caught, and violations of the content security policy.
        requests: addresses that were asked for, the page itself among them; `data:` and `blob:` addresses are left out.
    """

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def note(self, method: str, what: dict[str, Any]) -> None:
        """Add an event of the browser, if it is one of these."""
        if method == "Runtime.exceptionThrown":
            details = what["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(each.get("value", each.get("description"))) for each in what["args"]))
        elif method == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
            self.errors.append(what["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not what["request"]["url"].startswith(("data:", "blob:")):
            self.requests.append(what["request"]["url"])


class Browser:
    """One page in a browser of its own.

    Args:
        profile: an empty folder for what the browser keeps.

    Attributes:
        events: of the page since it was opened; read them after `settle`.
    """

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        self.events = Events()
        its_input, self._to = os.pipe()
        self._from, its_output = os.pipe()
        start = f'exec "$@" 3<&{its_input} 4>&{its_output}'
        self._process = subprocess.Popen(
            ["bash", "-c", start, "bash", CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(its_input, its_output),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_input)
        os.close(its_output)
        self._received = b""
        self._number = 0
        self._page = ""
        target = next(each for each in self._ask("Target.getTargets")["targetInfos"] if each["type"] == "page")
        self._page = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page"):
            self._ask(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._page:
            message["sessionId"] = self._page
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next_message()
            if answer.get("id") == self._number:
                assert "result" in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            part = os.read(self._from, 65536)
            assert part, "the browser has ended"
            self._received += part
        first, _, self._received = self._received.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        if "method" in message:
            self.events.note(message["method"], message["params"])
        return message

    def open(self, address: str) -> None:
        """Goes to a page; it may still be loading afterwards."""
        self._ask("Page.navigate", url="about:blank")
        self.events = Events()
        self._ask("Page.navigate", url=address)

    def open_loaded(self, address: str, seconds: float = 60.0) -> None:
        """Goes to a page, and waits until its scripts have run."""
        self.open(address)
        end = time.monotonic() + seconds
        while self.evaluate("document.readyState + ' ' + location.href") != f"complete {address}":
            assert time.monotonic() < end, f"{address} is not loaded"
            time.sleep(0.02)

    def evaluate(self, script: str) -> Any:
        """Returns what JavaScript says."""
        return self._ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def compute(self, script: str) -> Any:
        """Returns the value of an expression, of a promise once it is there. Fails on exceptions, which `evaluate` ignores."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]["exception"].get("description", answer)
        return answer["result"].get("value")

    def settle(self, frames: int = 2) -> None:
        """Waits until the page has drawn some frames, so that what was changed is seen and what went wrong is noted."""
        script = "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))"
        for _ in range(frames):
            self.compute(script)

    def show_as(self, width: int, height: int, theme: str = "light", touch: bool = False, scale: float = 1) -> None:
        """Sets the size of the page in CSS pixels, the colour scheme, and whether the screen is touched."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": touch}
        self._ask("Emulation.setDeviceMetricsOverride", **size)
        self._ask("Emulation.setTouchEmulationEnabled", enabled=touch)
        self._ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def mouse(self, kind: str, x: float, y: float, pressed: bool = False) -> None:
        """Sends an event of the mouse: `moved`, `pressed` or `released`, at a place in CSS pixels."""
        held = pressed or kind != "moved"
        button = {"button": "left" if held else "none", "buttons": int(held and kind != "released"), "clickCount": int(held)}
        self._ask("Input.dispatchMouseEvent", type=f"mouse{kind.capitalize()}", x=x, y=y, pointerType="mouse", **button)

    def click(self, x: float, y: float) -> None:
        """Clicks at a place in CSS pixels."""
        self.mouse("moved", x, y)
        self.mouse("pressed", x, y)
        self.mouse("released", x, y)

    def drag(self, points: Sequence[tuple[float, float]]) -> None:
        """Moves the pressed mouse along points in CSS pixels."""
        self.mouse("moved", *points[0])
        self.mouse("pressed", *points[0])
        for point in points[1:]:
            self.mouse("moved", *point, pressed=True)
        self.mouse("released", *points[-1])

    def touch(self, points: Sequence[tuple[float, float]]) -> None:
        """Moves a finger along points in CSS pixels."""
        for number, (x, y) in enumerate(points):
            kind = "touchMove" if number else "touchStart"
            self._ask("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        self._ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str, modifiers: int = 0) -> None:
        """Presses and releases a key, such as `Tab`, `ArrowLeft` or `a`; the modifiers are 1 Alt, 2 Ctrl, 4 Meta, 8 Shift."""
        text = {"Enter": "\r", "Tab": "\t"}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        number = code.get(key, ord(key.upper()) if len(key) == 1 else 0)
        about = {"key": key, "code": key if len(key) > 1 else "", "windowsVirtualKeyCode": number, "modifiers": modifiers}
        self._ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **about)
        self._ask("Input.dispatchKeyEvent", type="keyUp", **about)

    def text_with(self, *expected: str, seconds: float = 60.0) -> str:
        """Returns what the page says, as soon as it says all that is expected."""
        end = time.monotonic() + seconds
        while True:
            text = str(self.evaluate(ALL_TEXT))
            missing = [part for part in expected if part not in text]
            if not missing:
                return text
            assert time.monotonic() < end, f"the page does not show {missing}; it shows:\n{text[-3000:]}"
            time.sleep(0.5)

    def picture(self, file: Path) -> None:
        """Writes what the page looks like, as far as it is in the window."""
        file.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"]))

    def whole_picture(self, file: Path) -> None:
        """Writes what the whole page looks like, with what one would have to scroll to."""
        size = self._ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        answer = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(answer["data"]))

    def part_picture(self, file: Path, selector: str) -> None:
        """Writes what one element of the page looks like, wherever one would have to scroll to see it."""
        place = f"const place = document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y, width, height = self.evaluate(
            f"(() => {{ {place}; return [place.x + scrollX, place.y + scrollY, place.width, place.height]; }})()"
        )
        clip = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        answer = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(answer["data"]))

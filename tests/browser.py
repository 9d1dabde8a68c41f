"""A headless Chromium that a test drives through its DevTools pipe; nothing beside Debian's `chromium` is needed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
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


class Browser:
    """One page in a browser of its own.

    Args:
        profile: an empty folder for what the browser keeps.
    """

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
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
        return message

    def open(self, address: str) -> None:
        """Goes to a page; it may still be loading afterwards."""
        self._ask("Page.navigate", url="about:blank")
        self._ask("Page.navigate", url=address)

    def evaluate(self, script: str) -> Any:
        """Returns what JavaScript says."""
        return self._ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

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
        """Writes what the page looks like."""
        file.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"]))

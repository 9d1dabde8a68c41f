"""Hostile class names, file names and configs in a page: shown as they are written, never run, and nothing is asked for."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from cnnctl.commands.explore import PageOptions, explore
from cnnctl.report.console import Console
from tests.browser import ALL_TEXT, CHROMIUM, Browser
from tests.safety.hostile import encoded

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

RUN = "window.hacked=1"
TEXTS = [
    f"</script><script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f"<svg onload={RUN}>",
    f'"><iframe srcdoc="<script>parent.{RUN}</script>">',
    f"' onmouseover='{RUN}",
    f"javascript:{RUN}",
    "<!--<script>",
    f"${{{RUN}}}`+alert(1)+`",
    "{{script}}{{weights}}",
    "a\u2028b\u2029c",
    "\u202eabc\u202c",
    '\\"];alert(1);//',
    "__proto__",
    "constructor",
    "<link rel=stylesheet href=http://127.0.0.1:9/x.css><style>@import 'http://127.0.0.1:9/y.css'</style>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
]
"""Class names, each of which would run, load or break something in a page that is careless."""
WALK = """
(async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  for (const layer of cnnctl.layers) {
    document.querySelector(`[data-layer="${layer.name}"] button, [data-layer="${layer.name}"] canvas`)?.click();
    await frame();
  }
  let pressed = 0;
  for (const button of document.querySelectorAll("button")) {
    button.dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
    if (button.isConnected && !button.disabled) button.click();
    if (pressed++ % 10 === 0) await frame();
  }
  await frame();
})()
"""
"""Open every layer and press every button, so that each part of the page has shown its texts."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def page_of(source: Path, tmp_path: Path, images: int = 60) -> Path:
    explore(source, [], tmp_path / "page.html", PageOptions(20, images, None), "cpu", Console(quiet=True), verbose=True)
    return tmp_path / "page.html"


def opened(browser: Browser, page: Path) -> str:
    """Open a page, use all of it, and check that it is inert; return its text."""
    browser.open_loaded(page.as_uri())
    browser.settle()
    text = str(browser.compute(ALL_TEXT))
    browser.compute(WALK)
    browser.settle()
    assert browser.compute("window.hacked") is None
    assert (
        browser.compute("[...document.querySelectorAll('iframe, img, link, object, embed, meta[http-equiv=refresh]')].length")
        == 0
    )
    assert browser.compute("document.scripts.length") == 3
    assert browser.compute("location.href") == page.as_uri()
    assert browser.events.requests == [page.as_uri()]
    assert browser.events.errors == []
    return text + str(browser.compute(ALL_TEXT))


def with_labels(folder: Path, names: list[str]) -> Path:
    """Write a config whose class names are in a table of labels."""
    data = folder / "data"
    data.mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows = ["file,label"]
    for number, name in enumerate(names * 8):
        Image.fromarray(generator.integers(0, 256, (8, 8), np.uint8)).save(data / f"{number}.png")
        rows.append(f'{number}.png,"{name.replace(chr(34), chr(34) * 2)}"')
    (data / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return data


def test_class_names_are_text(browser: Browser, tmp_path: Path) -> None:
    names = [name for name in TEXTS if name.isprintable()]
    config = {
        "data": {"source": "folder", "path": str(with_labels(tmp_path, names)), "labels_file": "labels.csv", "validation": 0.25, "test": 0.25, "channels": 1, "image_size": [8, 8]},
        "model": {"layers": [{"conv2d": {"filters": 2, "kernel_size": 3}}, "flatten", {"dense": {"units": "classes"}}]},
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    text = opened(browser, page_of(tmp_path / "c.yaml", tmp_path))
    assert [name for name in names if name not in text] == []


def test_class_names_of_an_edited_run_are_text(run: Path, browser: Browser, tmp_path: Path) -> None:
    file = run / "environment.json"
    noted = json.loads(file.read_text())
    noted["class_names"] = TEXTS[:10]
    file.write_text(json.dumps(noted))
    text = opened(browser, page_of(run, tmp_path, images=0))
    assert [name for name in TEXTS[:10] if name.partition("\u2028")[0] not in text] == []


@pytest.mark.parametrize("name", [f"<img src=x onerror={RUN}>", f"' onload='{RUN}", "{{weights}}", "a\u2028b"])
def test_names_of_files_and_folders_are_text(run: Path, browser: Browser, tmp_path: Path, name: str) -> None:
    folder = run.rename(tmp_path / name)
    assert name.partition("\u2028")[0] in opened(browser, page_of(folder, tmp_path, images=0))
    (tmp_path / f"{name}.yaml").write_text((folder / "config.yaml").read_text())
    (tmp_path / "page.html").unlink()
    assert name.partition("\u2028")[0] in opened(browser, page_of(tmp_path / f"{name}.yaml", tmp_path, images=0))


@pytest.mark.parametrize(("name", "shown"), [("bell\a\x1b[31m", r"bell\x07\x1b[31m"), (os.fsdecode(b"caf\xe9"), r"caf\udce9")])
def test_control_characters_and_undecodable_bytes_of_names_are_escaped(
    run: Path, browser: Browser, tmp_path: Path, name: str, shown: str
) -> None:
    folder = run.rename(tmp_path / name)
    opened(browser, page_of(folder, tmp_path, images=0))
    heading = "[document.title, document.querySelector('h1').textContent]"
    assert all(shown in text for text in browser.compute(heading))
    (tmp_path / f"{name}.yaml").write_text((folder / "config.yaml").read_text())
    (tmp_path / "page.html").unlink()
    text = opened(browser, page_of(tmp_path / f"{name}.yaml", tmp_path, images=0))
    assert all(shown in each for each in [*browser.compute(heading), text])
    assert name not in text


def dropped(browser: Browser, content: bytes, name: str) -> None:
    browser.compute(
        f"""(async () => {{
          const bytes = Uint8Array.from(atob("{base64.b64encode(content).decode()}"), (each) => each.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], {json.dumps(name)}));
          document.body.dispatchEvent(new DragEvent("drop", {{ dataTransfer: transfer, bubbles: true, cancelable: true }}));
          await new Promise((done) => setTimeout(done, 300));
        }})()"""
    )


def test_names_and_contents_of_dropped_files_are_inert(run: Path, browser: Browser, tmp_path: Path) -> None:
    page = page_of(run, tmp_path, images=0)
    browser.open_loaded(page.as_uri())
    name = f"<img src=x onerror={RUN}>.png"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' width='8' height='8'><script>{RUN}</script><image href='http://127.0.0.1:9/x'/></svg>"
    for content in (encoded("PNG"), b"\x89PNG\r\n\x1a\n" + bytes(99), svg.encode(), f"<script>{RUN}</script>".encode()):
        dropped(browser, content, name)
    browser.settle()
    assert name in str(browser.compute(ALL_TEXT))
    assert browser.compute("window.hacked") is None
    assert browser.events.requests == [page.as_uri()]
    assert browser.events.errors == []


def test_what_is_dropped_does_not_replace_the_page(run: Path, browser: Browser, tmp_path: Path) -> None:
    page = page_of(run, tmp_path, images=0)
    browser.open_loaded(page.as_uri())
    browser.compute(
        """(() => {
          const transfer = new DataTransfer();
          transfer.setData("text/uri-list", "http://127.0.0.1:9/");
          const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
          window.prevented = !document.body.dispatchEvent(event);
        })()"""
    )
    assert browser.compute("window.prevented") is True


def test_the_page_can_send_nothing(run: Path, browser: Browser, tmp_path: Path) -> None:
    """Whatever script would run in it, the policy forbids every way out."""
    page = page_of(run, tmp_path, images=0)
    browser.open_loaded(page.as_uri())
    ways: dict[str, Any] = {
        "fetch": "fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')",
        "beacon": "Promise.resolve(navigator.sendBeacon('http://127.0.0.1:9/', 'x') && 'refused')",
        "image": "new Promise((done) => { const i = new Image(); i.onerror = () => done('refused'); i.onload = () => done('sent'); i.src = 'http://127.0.0.1:9/x.png'; })",
        "socket": "new Promise((done) => { try { const s = new WebSocket('ws://127.0.0.1:9/'); s.onerror = () => done('refused'); } catch { done('refused'); } })",
        "worker": "new Promise((done) => { try { const w = new Worker('data:text/javascript,1'); w.onerror = () => done('refused'); } catch { done('refused'); } })",
    }  # fmt: skip
    for name, script in ways.items():
        assert browser.compute(script) == "refused", name
        browser.settle()
        assert any("Content Security Policy" in error for error in browser.events.errors), name
        browser.events.errors.clear()

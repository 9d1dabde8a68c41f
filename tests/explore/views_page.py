"""A page of `explore` whose views a test looks at: opens layers, points at values and reads numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnctl.explore.page import page_of
from cnnctl.explore.page_data import content_of_config
from cnnctl.spec.load import load
from tests.browser import Browser

Values = NDArray[np.float32]

READ_STEPS = """
Object.fromEntries([...document.querySelectorAll('SELECTOR .step')].map((step) =>
  [step.dataset.name, {exact: Number(step.querySelector('.value').dataset.value), text: step.querySelector('.value').textContent}]))
"""

NO_SMOOTH_SCROLLING = """
(() => {
  const scroll = Element.prototype.scrollIntoView;
  Element.prototype.scrollIntoView = function (options) { scroll.call(this, {...options, behavior: 'instant'}); };
})()
"""
"""So that a test need not wait until the page has scrolled to a view."""


@dataclass
class Shown:
    """A page in a browser, with what its network consists of.

    Attributes:
        browser: shows it.
        file: the page.
        network: its description.
        weights: one set, float32.
    """

    browser: Browser
    file: Path
    network: dict[str, Any]
    weights: bytes

    def show(self, width: int = 1280, theme: str = "light", touch: bool = False) -> None:
        """Open the page from the start."""
        self.browser.show_as(width, 900, theme, touch)
        self.browser.open_loaded(self.file.as_uri())
        self.run(NO_SMOOTH_SCROLLING)

    def layer(self, name: str) -> dict[str, Any]:
        """Return the description of a layer."""
        return next(layer for layer in self.network["layers"] if layer["name"] == name)

    def weight(self, layer: str, name: str) -> Values:
        """Return a weight of a layer."""
        place = self.layer(layer)["weights"][name]
        flat = np.frombuffer(self.weights, "<f4")[place["offset"] : place["offset"] + prod(place["shape"])]
        return flat.reshape(place["shape"])

    def open(self, name: str) -> None:
        """Open the view of a layer."""
        self.run(f"document.querySelector('[data-layer=\"{name}\"] .column-head').click()")

    def run(self, script: str) -> Any:
        """Run a script and wait until the page shows what it changed."""
        result = self.browser.compute(script)
        self.wait()
        return result

    def wait(self) -> None:
        """Wait until the page has computed and drawn what was changed; a slow pass is put off for a moment."""
        self.browser.compute("cnnctl.drawn()")
        self.browser.settle(1)

    def read(self, script: str) -> Any:
        """Return the value of an expression."""
        return self.browser.compute(script)

    def activations(self, name: str) -> Values:
        """Return the output of a layer for the page's image, without the batch axis."""
        return self._tensor(f"cnnctl.activations({json.dumps(name)})")

    def gradients(self, name: str) -> Values:
        """Return the gradient of the page's target by a layer's output."""
        return self._tensor(f"cnnctl.gradients({json.dumps(name)})")

    def _tensor(self, script: str) -> Values:
        tensor = self.read(script)
        return np.array(tensor["values"], np.float32).reshape(tensor["shape"])

    def place(self, selector: str, row: int, column: int) -> tuple[float, float]:
        """Compute where the middle of a map's value is in the window; scrolls there."""
        script = f"""(() => {{
          const picture = document.querySelector({json.dumps(selector)});
          picture.scrollIntoView({{block: 'center'}});
          const box = picture.querySelector('canvas').getBoundingClientRect();
          const {{width, height}} = picture.querySelector('canvas');
          return [box.x + box.width * ({column} + 0.5) / width, box.y + box.height * ({row} + 0.5) / height];
        }})()"""
        before, now = None, self.read(script)
        while before != now:  # the page may still be laid out or scrolled
            self.browser.settle(2)
            before, now = now, self.read(script)
        return now[0], now[1]

    def hover(self, selector: str, row: int, column: int) -> None:
        """Point with the mouse at a value of a map."""
        self.browser.mouse("moved", *self.place(selector, row, column))
        self.wait()

    def steps(self, selector: str = ".view-stage") -> dict[str, float]:
        """Read the equation of the value: the steps by name."""
        return {name: step["exact"] for name, step in self.read(READ_STEPS.replace("SELECTOR", selector)).items()}

    def step_texts(self, selector: str = ".view-stage") -> dict[str, str]:
        """Read the equation of the value as a person does."""
        return {name: step["text"] for name, step in self.read(READ_STEPS.replace("SELECTOR", selector)).items()}

    def sentence(self) -> str:
        """Read the sentence about the value."""
        return str(self.read("document.querySelector('.view-sentence').textContent"))

    def open_sections(self) -> None:
        """Open gradients and the computation graph."""
        self.run("document.querySelectorAll('.view-section').forEach((each) => { each.open = true; })")


def page_with_random_weights(config: Path, seed: int) -> tuple[bytes, dict[str, Any], bytes]:
    """Create the page of a config with random weights: (page, description of the network, weights)."""
    content = content_of_config(load(config, []), config, 12)
    network = content.data["network"]
    random = np.random.default_rng(seed)
    weights = np.zeros(network["weights_count"], np.float32)
    for layer in network["layers"]:
        for name, place in layer["weights"].items():
            count = prod(place["shape"])
            drawn = random.uniform(0.5, 2, count) if name == "moving_variance" else random.normal(0, 0.5, count)
            weights[place["offset"] : place["offset"] + count] = drawn
    data = weights.astype("<f4").tobytes()
    return page_of(content.data, data), network, data

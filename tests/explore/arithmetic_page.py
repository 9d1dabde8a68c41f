"""The page's arithmetic in a real browser: networks go in, activations and gradients come out."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnctl.explore.bundle import FOLDER, joined_script
from tests.browser import Browser

Values = NDArray[np.float32]

ENTRY = """
import { ACTIVATIONS } from "./arithmetic/activations.js";
import { classScores, gradientOfScore } from "./arithmetic/fewshot.js";
import { gradCam, lastConvolution } from "./arithmetic/gradcam.js";
import { Network } from "./arithmetic/network.js";
import { OPERATIONS } from "./arithmetic/operations.js";
import { crossEntropy, softmax } from "./arithmetic/softmax.js";

const decoded = (text) => new Float32Array(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);
const tensorOf = ({ shape, values }) => ({ shape, values: decoded(values) });
const encoded = (values) => {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
};
const encodedMap = (map) => Object.fromEntries([...map].map(([name, { shape, values }]) => [name, [shape, encoded(values)]]));

function computed({ network, weights, images, training, masks, seed, target }) {
  const made = new Network(network, decoded(weights));
  const given = Object.fromEntries(Object.entries(masks).map(([name, mask]) => [name, tensorOf(mask)]));
  const pass = made.forward(tensorOf(images), { training, masks: given, seed });
  const adjoint = target.kind === "adjoint" ? { ...target, values: decoded(target.values) } : target;
  const gradients = made.backward(pass, adjoint);
  return { outputs: encodedMap(pass.outputs), masks: encodedMap(pass.masks), gradients: encodedMap(gradients) };
}

/** Measure the median duration of a forward pass and of a backward pass, in milliseconds. */
function timed({ network, weights, images, target }, rounds) {
  const made = new Network(network, decoded(weights));
  const batch = tensorOf(images);
  const median = (work) => {
    const times = Array.from({ length: rounds }, () => {
      const start = performance.now();
      work();
      return performance.now() - start;
    });
    return times.sort((a, b) => a - b)[Math.floor(rounds / 2)];
  };
  const pass = made.forward(batch);
  return { forward: median(() => made.forward(batch)), backward: median(() => made.backward(pass, target)) };
}

window.arithmetic = {
  ACTIVATIONS, OPERATIONS, Network, classScores, computed, crossEntropy, gradCam, gradientOfScore, lastConvolution, softmax, timed,
};
"""


class ArithmeticPage:
    """An empty page that holds the modules of `arithmetic/`, joined as those of the real page.

    Args:
        browser: shows it.
        folder: an empty folder for the page's entry.
    """

    def __init__(self, browser: Browser, folder: Path) -> None:
        (folder / "arithmetic").symlink_to(FOLDER / "arithmetic")
        (folder / "entry.js").write_text(ENTRY, encoding="utf-8")
        self._browser = browser
        self.evaluate(f"{joined_script(folder, 'entry.js')}; null")

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression as JSON has it; an error of the page is an AssertionError."""
        wrapped = f"(() => {{ try {{ return [(0, eval)({json.dumps(script)})]; }} catch (error) {{ return `${{error.stack}}`; }} }})()"
        result = self._browser.evaluate(wrapped)
        assert isinstance(result, list), result
        return result[0] if result else None

    def call(self, function: str, *arguments: Any) -> Any:
        """Return what a function of `window.arithmetic` returns."""
        return self.evaluate(f"arithmetic.{function}({', '.join(json.dumps(each) for each in arguments)})")

    def compute(
        self,
        network: Mapping[str, Any],
        weights: bytes,
        images: Values,
        target: Mapping[str, Any],
        *,
        training: bool = False,
        masks: Mapping[str, Values] | None = None,
        seed: int = 0,
    ) -> dict[str, dict[str, Values]]:
        """Return `outputs`, `masks` and `gradients` by layer name, of a forward and a backward pass."""
        request = {
            "network": network,
            "weights": base64.b64encode(weights).decode(),
            "images": encoded(images),
            "target": dict(target),
            "training": training,
            "masks": {name: encoded(mask) for name, mask in (masks or {}).items()},
            "seed": seed,
        }
        if isinstance(values := target.get("values"), np.ndarray):
            request["target"] = {**target, "values": encoded(values)["values"]}
        result = self.call("computed", request)
        return {kind: {name: decoded(*each) for name, each in tensors.items()} for kind, tensors in result.items()}


def encoded(values: Values) -> dict[str, Any]:
    return {"shape": list(values.shape), "values": base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()}


def decoded(shape: list[int], values: str) -> Values:
    return np.frombuffer(base64.b64decode(values), "<f4").reshape(shape)


def differences(found: Mapping[str, Values], expected: Mapping[str, Values], tolerance: float) -> list[str]:
    """Describe the tensors that differ by more than `tolerance` times the largest absolute value that is expected."""
    lines = []
    for name, values in expected.items():
        if found[name].shape != values.shape:
            lines.append(f"{name}: shape {found[name].shape}, expected {values.shape}")
            continue
        largest = float(np.abs(values).max(initial=0))
        error = float(np.abs(found[name].astype("float64") - values).max(initial=0))
        if not (math.isfinite(largest) and error <= tolerance * largest):
            lines.append(f"{name}: differs by {error:.3g}, the largest value is {largest:.3g}")
    return lines

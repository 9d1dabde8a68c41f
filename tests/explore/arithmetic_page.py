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
import { receptiveField } from "./arithmetic/receptive.js";
import { crossEntropy, crossEntropyOfProbabilities } from "./arithmetic/softmax.js";
import { functionOf } from "./arithmetic/activation_layers.js";
import { joinRule } from "./arithmetic/joins.js";
import { isRandom, withNoise } from "./arithmetic/noise.js";
import {
  alphaAt, broadcastPlace, flattenedUnit, movedFrom, movedTo, placeOf, randomAt, sourceOf, uncroppedPlace, unflattenedPlace, unpaddedPlace, valueAt,
} from "./arithmetic/places.js";
import { isConvolution, kernelOf } from "./arithmetic/convolution_kinds.js";
import { affineAt, axisNormalizationTerms, denseTerms, normalizationTerms, poolingTerms, upSamplingTerms } from "./arithmetic/terms.js";
import { convolutionTerms, groupOf, partialMap } from "./arithmetic/terms_convolution.js";

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

const AXIS_NORMALIZATIONS = ["layer_normalization", "group_normalization", "unit_normalization"];

/** Compute one value of a layer from its terms, without its activation. */
function fromTerms(network, pass, layer, image, place) {
  const { name, kind, inputs } = layer;
  const value = (input, at) => valueAt(network, pass.outputs, input, image, at);
  if (isConvolution(layer)) return convolutionTerms(network, pass, name, image, place).before;
  if (kind === "dense") return denseTerms(network, pass, name, image, place).before;
  if (kind.includes("pooling")) return poolingTerms(network, pass, name, image, place).output;
  if (kind === "batch_normalization") return normalizationTerms(network, pass, name, image, place).output;
  if (kind === "flatten") {
    const source = unflattenedPlace(network, name, place.column);
    return flattenedUnit(network, name, source) === place.column ? value(inputs[0], source) : NaN;
  }
  if (joinRule(layer))
    return joinRule(layer).combine(inputs.map((input) => value(input, broadcastPlace(network, name, input, place))));
  if (pass.before.has(name)) return value(inputs[0], place); // an activation
  if (isRandom(layer)) {
    const random = randomAt(network, pass, name, image, place);
    const one = { shape: [1], values: Float32Array.of(value(inputs[0], place)) };
    return random === null ? one.values[0] : withNoise(layer, one, { shape: [1], values: [random] }).values[0];
  }
  if (kind === "concatenate") {
    const source = sourceOf(network, name, place);
    return value(source.input, source.place);
  }
  if (AXIS_NORMALIZATIONS.includes(kind)) return axisNormalizationTerms(network, pass, name, image, place).output;
  if (kind === "reshape" || kind === "permute") {
    const source = movedFrom(network, name, place);
    return JSON.stringify(movedTo(network, name, source)) === JSON.stringify(place) ? value(inputs[0], source) : NaN;
  }
  if (kind === "rescaling" || kind === "normalization") {
    const { factor, shift } = affineAt(network, name, place);
    return value(inputs[0], place) * factor + shift;
  }
  if (kind === "cropping2d") return value(inputs[0], uncroppedPlace(network, name, place));
  if (kind === "up_sampling2d") return upSamplingTerms(network, pass, name, image, place).sum;
  const inside = unpaddedPlace(network, name, place);
  return inside ? value(inputs[0], inside) : 0;
}

/** Compute every value of every layer from its terms, in the order of the layer's output. */
function termsOf({ network, weights, images, training, masks }) {
  const made = new Network(network, decoded(weights));
  const given = Object.fromEntries(Object.entries(masks).map(([name, mask]) => [name, tensorOf(mask)]));
  const pass = made.forward(tensorOf(images), { training, masks: given });
  const results = made.layers.map((layer) => {
    const { shape } = pass.outputs.get(layer.name);
    const size = layer.shape.reduce((product, length) => product * length, 1);
    const values = Float32Array.from({ length: shape[0] * size }, (_, index) =>
      fromTerms(made, pass, layer, Math.floor(index / size), placeOf(made, layer.name, index % size)));
    return [layer.name, { shape, values }];
  });
  const before = made.layers.map(({ name }) => [name, pass.before.get(name) ?? pass.outputs.get(name)]);
  return { terms: encodedMap(results), before: encodedMap(before) };
}

/** Add the maps of all input channels of each filter. */
function sumsOfPartialMaps({ network, weights, images }, name) {
  const made = new Network(network, decoded(weights));
  const pass = made.forward(tensorOf(images));
  const layer = made.layer(name);
  return Array.from({ length: kernelOf(layer, made.weights.get(name)).filters }, (_, filter) => {
    const { first, end } = groupOf(made, layer, filter);
    const maps = Array.from({ length: end - first }, (_, index) => partialMap(made, pass, name, 0, filter, first + index));
    return [...maps.reduce((sum, map) => sum.map((value, index) => value + map[index]))];
  });
}

/** Compute for some values of every layer the box of the image whose gradient is not 0, and the receptive field. */
function fieldsOf({ network, weights, images }) {
  const made = new Network(network, decoded(weights));
  const pass = made.forward(tensorOf(images));
  return made.layers.flatMap((layer) => {
    const size = layer.shape.reduce((product, length) => product * length, 1);
    const places = [0, Math.floor(size / 3), Math.floor(size / 2), size - 1].map((index) => placeOf(made, layer.name, index));
    return places.map(({ row, column }) => {
      const field = receptiveField(made, layer.name, row, column);
      return { layer: layer.name, row, column, field, found: boxOfGradients(made, pass, layer, row, column) };
    });
  });
}

/** Find the box of the image that changes a value of any map at a place: where a gradient is not 0. */
function boxOfGradients(network, pass, layer, row, column) {
  const box = { top: Infinity, left: Infinity, bottom: -Infinity, right: -Infinity };
  const size = layer.shape.reduce((product, length) => product * length, 1);
  for (let index = 0; index < size; index += 1) {
    const place = placeOf(network, layer.name, index);
    if (place.row !== row || place.column !== column) continue;
    const { values } = network.backward(pass, { kind: "value", layer: layer.name, index }).get("input");
    values.forEach((value, pixel) => {
      if (value === 0) return;
      const at = placeOf(network, "input", pixel);
      box.top = Math.min(box.top, at.row);
      box.bottom = Math.max(box.bottom, at.row);
      box.left = Math.min(box.left, at.column);
      box.right = Math.max(box.right, at.column);
    });
  }
  return box.top === Infinity ? null : box;
}

/** Call a function of steps, with its typed arrays as lists. */
function asLists(name, ...values) {
  const steps = Object.entries(window.arithmetic[name](...values));
  return Object.fromEntries(steps.map(([step, value]) => [step, ArrayBuffer.isView(value) ? [...value] : value]));
}

const gradientOfScoreAsList = (...values) => [...gradientOfScore(...values)];

function gradCamOf({ network, weights, images, target }, image) {
  const made = new Network(network, decoded(weights));
  const layer = lastConvolution(made);
  if (!layer) return null;
  const pass = made.forward(tensorOf(images));
  const { values, height, width } = gradCam(made, pass, made.backward(pass, target), layer.name, image);
  return { layer: layer.name, map: [[height, width], encoded(values)] };
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
  ACTIVATIONS, OPERATIONS, asLists, classScores, computed, crossEntropy, crossEntropyOfProbabilities, fieldsOf, gradCamOf,
  gradientOfScoreAsList, sumsOfPartialMaps, termsOf, timed,
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
        request = request_for(network, weights, images, training=training, masks=masks) | {"target": dict(target), "seed": seed}
        if isinstance(values := target.get("values"), np.ndarray):
            request["target"] = {**target, "values": encoded(values)["values"]}
        return decoded_all(self.call("computed", request))

    def grad_cam(
        self, network: Mapping[str, Any], weights: bytes, images: Values, target: Mapping[str, Any], *, image: int
    ) -> dict[str, Any] | None:
        """Return the last convolution, `layer`, and its Grad-CAM (H, W), `map`, for one image of a batch; None without one."""
        found = self.call("gradCamOf", request_for(network, weights, images) | {"target": dict(target)}, image)
        return found and {"layer": found["layer"], "map": decoded(*found["map"])}

    def error_of(self, network: Mapping[str, Any], weights: bytes, images: Values, change: str) -> str:
        """Return the message of the error that a computation throws after a change of its request."""
        request = request_for(network, weights, images) | {"target": {"kind": "value", "layer": "a", "index": 0}, "seed": 0}
        message = self.evaluate(f"""(() => {{
          const request = {json.dumps(request)};
          {change};
          try {{ arithmetic.computed(request); }} catch (error) {{ return error.message; }}
          return "no error";
        }})()""")
        return str(message)


def request_for(
    network: Mapping[str, Any],
    weights: bytes,
    images: Values,
    *,
    training: bool = False,
    masks: Mapping[str, Values] | None = None,
) -> dict[str, Any]:
    """Return the argument of the page's functions: a network, its weights and a batch."""
    return {
        "network": network,
        "weights": base64.b64encode(weights).decode(),
        "images": encoded(images),
        "training": training,
        "masks": {name: encoded(mask) for name, mask in (masks or {}).items()},
    }


def decoded_all(result: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Values]]:
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

"""What the page shows of single values: their terms, receptive fields, Grad-CAM, and softmax step by step."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, assume, given, settings

from cnnctl.explore.network_data import SHOWN
from cnnctl.spec.stack import INPUT
from tests.browser import CHROMIUM, Browser
from tests.explore.arithmetic_page import ArithmeticPage, decoded_all, differences, request_for
from tests.explore.networks import ACTS_IN_TRAINING, FIRST, IMAGE, LAST, LAYERS, Case, Plain, is_shown, network_from
from tests.model.test_shapes_equal_keras import Drawn, fitting_stacks, smooth
from tests.spec.fuzz import times

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArithmeticPage]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield ArithmeticPage(browser, tmp_path_factory.mktemp("page"))
    keras.backend.clear_session()


# --- terms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_format", [LAST, FIRST])
@pytest.mark.parametrize("name", LAYERS)
def test_the_terms_of_every_value_add_up_to_it(page: ArithmeticPage, name: str, model_format: str) -> None:
    case = Case(network_from(LAYERS[name], IMAGE, model_format))
    training = name in ACTS_IN_TRAINING
    masks = case.masks(2) if training else {}
    request = request_for(case.description, case.weights, case.images(2), training=training, masks=masks)
    result = decoded_all(page.call("termsOf", request))
    assert differences(result["terms"], result["before"], 1e-6) == []


@pytest.mark.parametrize("fields", [{"padding": "same", "strides": 2}, {"groups": 2, "dilation_rate": 2}])
@pytest.mark.parametrize("model_format", [LAST, FIRST])
def test_the_maps_of_single_input_channels_add_up_to_the_convolution(
    page: ArithmeticPage, fields: Plain, model_format: str
) -> None:
    convolution = {"filters": 4, "kernel_size": 3, "use_bias": False, **fields}
    case = Case(network_from([{"conv2d": convolution}], IMAGE, model_format))
    images = case.images(1)
    outputs, _ = case.by_keras(images, lambda tensors: tf.reduce_sum(tensors["conv2d"]))
    sums = page.call("sumsOfPartialMaps", request_for(case.description, case.weights, images), "conv2d")
    maps = outputs["conv2d"][0] if model_format == FIRST else np.moveaxis(outputs["conv2d"][0], -1, 0)
    np.testing.assert_allclose(np.reshape(sums, maps.shape), maps, atol=1e-4)


# --- receptive fields ---------------------------------------------------------------------------------------------


def assert_fields(page: ArithmeticPage, case: Case) -> None:
    for each in page.call("fieldsOf", request_for(case.description, case.weights, case.images(1))):
        field = each["field"] and {side: each["field"][side] for side in ("top", "left", "bottom", "right")}
        assert field == each["found"], each


@pytest.mark.parametrize("model_format", [LAST, FIRST])
@pytest.mark.parametrize("name", LAYERS)
def test_the_receptive_field_is_the_box_that_changes_the_value(page: ArithmeticPage, name: str, model_format: str) -> None:
    assert_fields(page, Case(network_from(visible(LAYERS[name]), IMAGE, model_format)))


VISIBLE = {"relu": "elu", "maximum": "average", "minimum": "average"}


def visible(layers: list[Plain]) -> list[Plain]:
    """Replace what would hide that a value is seen: means for maxima, and elu or softplus for relu."""
    changed = []
    for layer in layers:
        ((kind, fields),) = layer.items()
        activation = {"activation": "softplus"} if fields.get("activation") == "relu" else {}
        changed.append(
            {VISIBLE.get(kind, kind.replace("max_", "average_")): {} if kind == "relu" else {**fields, **activation}}
        )
    return changed


def test_receptive_fields_of_random_stacks_are_the_boxes_that_change_their_values(page: ArithmeticPage) -> None:
    @settings(max_examples=times(20), derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(fitting_stacks(kinds=SHOWN))
    def agrees(drawn: Drawn) -> None:
        network = network_from(smooth(drawn), drawn.image, drawn.model_format)
        assume(is_shown(network))
        assert_fields(page, Case(network))

    agrees()


def test_a_stack_of_many_joins_has_its_field_at_once(page: ArithmeticPage) -> None:
    layers: list[Plain] = []
    before = INPUT
    for block in range(40):
        layers.append({"conv2d": {"name": f"c{block}", "inputs": [before], "filters": 1, "kernel_size": 3, "padding": "same"}})
        layers.append({"add": {"name": f"a{block}", "inputs": [before, f"c{block}"]}})
        before = f"a{block}"
    case = Case(network_from(layers, (9, 9, 1)))
    fields = page.call("fieldsOf", request_for(case.description, case.weights, case.images(1)))
    assert {side: fields[-1]["field"]["unclipped"][side] for side in ("top", "bottom")} == {"top": 8 - 40, "bottom": 8 + 40}

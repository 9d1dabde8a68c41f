"""What a message advises works: a program does it, and the message is gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnnctl.spec.document import dump, parse, value_of
from tests.spec.edits import KINDS, counted, edits, outcome
from tests.spec.fuzz import times
from tests.spec.remedies import FOR_PEOPLE, refused, remedies_of, tried

BAD = Path(__file__).parent / "bad"
CONFIGS_FOLDER = BAD.parents[2] / "configs"
NAMES = sorted(file.stem for file in BAD.glob("*.yaml"))


@pytest.fixture(autouse=True)
def _beside_the_configs_and_without_prepared_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    monkeypatch.setenv("TFDS_DATA_DIR", "no-such-folder")


@pytest.mark.parametrize("name", NAMES)
def test_every_remedy_of_a_bad_config_removes_its_message(name: str) -> None:
    text = (BAD / f"{name}.yaml").read_text()
    for problem in refused(text):
        for remedy, after in tried(text, problem):
            if after is None:
                assert FOR_PEOPLE.fullmatch(remedy) or name.startswith("sweep-"), f"who can do this? {problem}"
            else:
                assert (problem.path, problem.message) not in [(each.path, each.message) for each in after], (remedy, problem)


def test_most_kinds_of_bad_configs_get_a_remedy_that_a_program_can_apply() -> None:
    texts = [(BAD / f"{name}.yaml").read_text() for name in NAMES]
    applied = [[after for problem in refused(text) for _, after in tried(text, problem) if after is not None] for text in texts]
    assert sum(map(bool, applied)) > 80


def test_remedies_are_read_out_of_a_message_one_by_one() -> None:
    assert remedies_of("'x' is wrong; write loop: custom, or leave loop out") == ["write loop: custom", "leave loop out"]
    assert remedies_of("unknown field 'a'; known: b, c") == []
    assert remedies_of("there is a tab; write: - dense: {units: 3, name: a or b}") == [
        "write: - dense: {units: 3, name: a or b}"
    ]


# ---- a thousand wrong edits


def test_wrong_edits_are_named_at_their_line_and_every_remedy_works() -> None:
    outcomes = [outcome(edit) for edit in edits(times(100))]  # CNNCTL_FUZZ=10 for the thousand of docs/reference/errors.md
    rows = counted(outcomes)
    print(rows)
    assert [each.failed for each in outcomes if each.failed] == []
    assert sum(each.named for each in outcomes) >= 0.95 * len(outcomes), [  # a misplaced layer may disturb one far below
        (each.edit.kind, each.edit.name, sorted(each.edit.lines), str(each.first)) for each in outcomes if not each.named
    ]
    assert all(remedies for _, _, remedies, *_ in rows.values()), "no remedy was tried"


def test_the_page_has_the_counts_of_a_thousand_edits() -> None:
    page = (BAD.parents[2] / "docs" / "reference" / "errors.md").read_text()
    rows = {
        kind: [int(number) for number in re.findall(r"\d+", row)]
        for kind, row in re.findall(r"^\| (.+?) \|(.+)\|$", page, re.M)
    }
    assert {kind: rows[kind][0] for kind in KINDS} == dict.fromkeys(KINDS, 250)
    assert (
        sum(rows[kind][1] for kind in KINDS) == rows["all"][1] >= 970
    )  # of the 21 others most are layers misplaced before a block
    assert [rows[kind][3] for kind in KINDS] == [0] * len(KINDS)


# ---- mistakes of the hand, each by its cause

LINE_OF = {line.strip(): number for number, line in enumerate((CONFIGS_FOLDER / "mnist.yaml").read_text().split("\n"), start=1)}


@pytest.mark.parametrize(
    ("right", "wrong", "cause"),
    [
        ("  epochs: 12", "  epochs:12", "there is no space after a colon"),
        ("  epochs: 12", "  epochs 12", "a colon is missing"),
        ("train:", "train", "the colon is missing"),
        ("  epochs: 12", "  epochs = 12", "an equals sign is used in place of a colon"),
        ("  epochs: 12", "\tepochs: 12", "a tab is used for indentation"),
        ("  epochs: 12", "  epochs:\t12", "a tab is used in place of a space"),
        ("  epochs: 12", "  epochs:\xa012", "a non-breaking space (U+00A0) is used in place of a space"),
        ("  epochs: 12", "\xa0 epochs: 12", "a non-breaking space (U+00A0) is used in place of a space"),
        ("  epochs: 12", "  epochs： 12", "a fullwidth colon (U+FF1A) is used in place of a colon"),
        ("  epochs: 12", "  epochs: 12# so many", "there is no space before #, which starts a comment"),
        ("  epochs: 12", "  epochs: '12'", "'12' in quotes is a text"),
        ("  epochs: 12", "   epochs: 12", "this line is indented by 3 spaces"),
        ("  epochs: 12", " epochs: 12", "this line is indented by 1 space"),
        ("  epochs: 12", "    epochs: 12", "this line is indented by 4 spaces"),
        ("    - flatten", "    – flatten", "an en dash (U+2013) is used in place of a hyphen"),
        ("    - flatten", "    — flatten", "an em dash (U+2014) is used in place of a hyphen"),
        ("    - flatten", "    -flatten", "there is no space after the dash"),
        ("    - flatten", "      - flatten", "this line is indented by 6 spaces"),
        ("    - flatten", "   - flatten", "this line is indented by 3 spaces"),
        ("    - dropout: {rate: 0.5}", "    dropout: {rate: 0.5}", "the dash of a list item is missing"),
        ("    - dropout: {rate: 0.5}", "    - dropout: {rate: 0.5", "{ is not closed"),
        ("    - dropout: {rate: 0.5}", "    - dropout: rate: 0.5}", "the opening { is missing"),
        ("    - dropout: {rate: 0.5}", "    - dropout: {rate: 0.5]", "] closes what another bracket opened"),
        ("    - dropout: {rate: 0.5}", "    - dropout: {rate:0.5}", "there is no space after a colon"),
        ("    - dropout: {rate: 0.5}", "    - dropout: {rate 0.5}", "a colon is missing"),
        ("  name: mnist", "  name: “mnist”", "a left double quotation mark (U+201C) is used in place of a straight quote"),
        ("  name: mnist", '  name: "mnist', '" is not closed'),
        ("  name: mnist", "  name: 'mnist", "' is not closed"),
        ("  name: mnist", "  name: @mnist", "a text that starts with @ needs quotes"),
        (
            "  optimizer: {adam: {learning_rate: 1e-3}}",
            '  optimizer: {adam: {learning_rate: "1e-3"}}',
            '"1e-3" in quotes is a text',
        ),
        (
            "    - conv2d: {filters: 64, kernel_size: 3, activation: relu}",
            "    - conv2d: {filters: 64 kernel_size: 3, activation: relu}",
            "a comma is missing",
        ),
    ],
)
def test_a_slip_of_the_hand_is_told_by_its_cause_on_its_line(right: str, wrong: str, cause: str) -> None:
    text = (CONFIGS_FOLDER / "mnist.yaml").read_text()
    assert f"\n{right}\n" in text
    edited = text.replace(f"\n{right}\n", f"\n{wrong}\n")
    (problem,) = refused(edited)
    assert problem.message.startswith(f"{cause}; ")
    assert problem.location.split(":")[1] == str(LINE_OF[right.strip()])
    ((_, after),) = tried(edited, problem)
    assert after is not None
    assert [each for each in after if each.message == problem.message] == []


@pytest.mark.parametrize("line_break", ["\r\n", "\r", "\x85", "\u2028"])
def test_a_slip_is_told_at_its_line_whatever_ends_the_lines(line_break: str) -> None:
    text = (CONFIGS_FOLDER / "mnist.yaml").read_text().replace("  epochs: 12", "  epochs:12").replace("\n", line_break)
    assert [(each.location, each.message) for each in refused(text)] == [
        (f"x.yaml:{LINE_OF['epochs: 12']}:10", "there is no space after a colon; write: epochs: 12")
    ]


def test_several_slips_of_one_file_are_told_at_once() -> None:
    text = (
        (CONFIGS_FOLDER / "mnist.yaml")
        .read_text()
        .replace("  epochs: 12", "  epochs:12")
        .replace("    - flatten", "    -flatten")
    )
    assert [problem.message for problem in refused(text)] == [
        "there is no space after the dash; write: - flatten",
        "there is no space after a colon; write: epochs: 12",
    ]


# ---- words of other tools

WORDS = [
    *(("train", line) for line in (
        "lr: 0.1", "learning_rate: 0.1", "scheduler: cosine", "lr_scheduler: step", "metrics: [accuracy]", "early_stopping: true",
        "early_stop: {patience: 2}", "checkpoint: true", "num_epochs: 3", "batchsize: 3", "bs: 3", "val_split: 0.1", "shuffle: true",
        "seed: 3", "callbacks: []", "verbose: 1", "device: gpu", "loss_fn: x", "criterion: ce", "weight_decay: 1e-4", "patience: 3",
        "num_workers: 2", "mixed_precision: true", "augment: true", "num_classes: 10", "optim: adam", "dropout: 0.5",
        "optimizer: Adam", "optimizer: {name: adam}", "optimizer: {type: SGD, lr: 0.1}", "optimizer: {learning_rate: 0.1}",
        "optimizer: {adam: {lr: 0.1}}", "optimizer: {sgd: {learning_rate: cosine}}", "optimizer: {sgd: {learning_rate: one_cycle}}",
        "loss: cross_entropy", "loss: CrossEntropyLoss", "loss: mse", "loss: SparseCategoricalCrossentropy", "precision: fp16",
        "precision: bfloat16", "early_stopping: none", "loss: none",
    )),
    *(("data", line) for line in (
        "input_shape: [28, 28, 1]", "image_size: [28, 28, 1]", "image_size: 28x28", "num_classes: 10", "validation_split: 0.1",
        "batch_size: 3", "dataset: mnist", "type: mnist", "source: mnist", "source: MNIST", "source: fashion-mnist",
        "source: imagefolder", "img_size: 28", "grayscale: true", "channels: grayscale", "normalize: true", "augmentation: {flip: true}",
        "augment: true", "augment: none", "download: true", "flip: true", "one_hot: true", "labels: categorical", "validation: 10%",
        "validation: 0,1", "validation: none", "test: None", "transform: x",
    )),
    *(("model", line) for line in ("input_shape: [28, 28, 1]", "num_classes: 10", "type: cnn", "name: x", "loss: mse", "optimizer: adam")),
    *(("", line) for line in (
        "epochs: 3", "lr: 0.1", "optimizer: adam", "dataset: mnist", "output_dir: x", "random_seed: 3", "metrics: [x]", "augment: {}",
    )),
]  # fmt: skip


@pytest.mark.parametrize(("section", "line"), WORDS)
def test_a_word_of_another_tool_gets_the_line_to_write(section: str, line: str) -> None:
    _gets_a_remedy_that_works(_with(section, line))


def _with(section: str, line: str) -> str:
    """Returns the quickstart with a line more in one section, in place of one that has the same key."""
    content = parse((CONFIGS_FOLDER / "quickstart.yaml").read_text(), "x").content
    added = parse(line, "x").content
    if section == "data" and next(iter(added)) not in ("source",):
        content["data"] = {"source": "tfds", "name": "mnist"}
    (content[section] if section else content).update(added)
    return dump(content)


def _gets_a_remedy_that_works(text: str) -> None:
    problems = refused(text)
    assert problems
    for problem in problems:
        results = list(tried(text, problem))
        assert results, f"no remedy: {problem}"
        for remedy, after in results:
            assert after is not None or FOR_PEOPLE.fullmatch(remedy), problem
            assert (problem.path, problem.message) not in [(each.path, each.message) for each in after or []], remedy


LAYER_WORDS = (
    "gelu", "Softmax", "ReLU", "LeakyReLU", "sigmoid", "batchnorm", "BatchNorm2d", "bn", "Conv2D", "conv", "Conv2d", "maxpool",
    "MaxPool2d", "avgpool", "gap", "fc", "linear", "Linear", "input", "InputLayer", "resize", "pool", "dropout2d",
    "nn.Identity", "identity", "relu: {inplace: true}", "relu: {cap: 6}", "leaky_relu: {alpha: 0.2}", "elu: {inplace: true}",
    "gaussian_noise: {std: 0.1}", "gaussian_noise: {sigma: 0.1}", "prelu: {shared_axis: [1, 2]}", "nn.Dropout2d: {p: 0.5}",
    "softmax: {dim: 1}", "dense: {units: 3, kernel_regularizer: orthogonal}", "dense: {units: 3, kernel_initializer: eye}",
    "dense: {units: 3, activation: hardswish}", "dense: {units: 3, activation: nn.Tanhshrink}",
    "dense: {units: 3, activation: sparsemax}", "dense: {units: 3, activation: threshold}",
    "conv2d: {out_channels: 4, kernel_size: 3}", "conv2d: {filters: 4, kernel_size: 3x3}", "conv2d: {filters: 4, kernel: 3}",
    "conv2d: {filters: 4, kernel_size: 3, padding: 1}", "conv2d: {filters: 4, kernel_size: 3, input_shape: [28, 28, 1]}",
    "conv2d: {filters: 4, kernel_size: 3, in_channels: 1}", "conv2d: {filters: 4, kernel_size: 3, kernel_regularizer: 0.01}",
    "conv2d: {filters: 4, kernel_size: 3, l2: 0.1}", "conv2d: {filters: 4, kernel_size: 3, kernel_initializer: xavier}",
    "conv2d: {filters: 4, kernel_size: 3, batch_norm: true}", "conv2d: {filters: 4, kernel_size: 3, bias: false}",
    "dwconv", "DepthwiseConv2D", "sepconv", "separable_conv", "depthwise_conv2d: {kernel_size: 3, filters: 4}",
    "depthwise_conv2d: {kernel_size: 3, kernel_initializer: he_normal}", "depthwise_conv2d: {kernel: 3}",
    "separable_conv2d: {filters: 4, kernel_size: 3, kernel_regularizer: l2}", "depthwise_conv2d: {kernel_size: 3, strides: [2, 1]}",
    "separable_conv2d: {filters: 4, kernel_size: 3, strides: [1, 2]}",
    "deconv", "ConvTranspose2d", "Conv2DTranspose", "conv2d_transpose: {out_channels: 4, kernel_size: 3}",
    "conv2d_transpose: {filters: 4, kernel_size: 3, strides: 2, output_padding: 2}",
    "conv2d_transpose: {filters: 4, kernel_size: 2, strides: 2, output_padding: 0, padding: same}",
    "dropout: {p: 0.5}", "dropout: {rate: 50%}", "activation: {activation: ReLU}", "max_pooling2d: {size: 2, pool: 2}",
)  # fmt: skip


@pytest.mark.parametrize("layer", LAYER_WORDS)
def test_a_layer_of_another_tool_gets_the_line_to_write(layer: str) -> None:
    content = parse((CONFIGS_FOLDER / "quickstart.yaml").read_text(), "x").content
    content["model"]["layers"].insert(1, value_of(layer if ":" not in layer else f"{{{layer}}}", "x"))
    text = dump(content)
    problem = refused(text)[0]
    results = list(tried(text, problem))
    assert results, f"no remedy: {problem}"
    assert all(
        after is not None or FOR_PEOPLE.fullmatch(remedy) or remedy.startswith("a layer above") for remedy, after in results
    )
    assert problem.message not in [each.message for _, after in results for each in after or []]


MEANT = {
    **dict.fromkeys(("nn.Dropout2d", "Dropout2D", "SpatialDropout2D", "spatialdropout", "FeatureDropout"), "spatial_dropout2d"),
    **dict.fromkeys(("gaussiannoise", "GaussianNoise", "noise", "add_noise"), "gaussian_noise"),
    **dict.fromkeys(("GaussianDropout", "gaussiandropout"), "gaussian_dropout"),
    **dict.fromkeys(("nn.AlphaDropout", "alphadropout", "nn.FeatureAlphaDropout"), "alpha_dropout"),
    **dict.fromkeys(("leakyrelu", "LeakyReLU", "nn.LeakyReLU", "lrelu", "nn.RReLU"), "leaky_relu"),
    **dict.fromkeys(("PReLU", "nn.PReLU", "parametric_relu"), "prelu"),
    **dict.fromkeys(("ELU", "nn.ELU"), "elu"),
    **dict.fromkeys(("nn.ReLU", "ThresholdedReLU", "nn.Threshold"), "relu"),
    **dict.fromkeys(("nn.Softmax", "nn.Softmax2d", "sparsemax"), "softmax"),
    **dict.fromkeys(("mul", "Multiply", "product", "nn.GLU"), "multiply"),
    **dict.fromkeys(("sub", "Subtract", "difference"), "subtract"),
    **dict.fromkeys(("mean", "Average"), "average"),
    **dict.fromkeys(("max", "Maximum"), "maximum"),
    **dict.fromkeys(("min", "Minimum"), "minimum"),
    **dict.fromkeys(("cat", "Concat", "Merge"), "concatenate"),
    **dict.fromkeys(("eltwise", "residual", "skip", "Sum", "keras.layers.Add"), "add"),
    **dict.fromkeys(("AvgPool", "nn.AvgPool2d"), "average_pooling2d"),
    **dict.fromkeys(("nn.Linear", "tf.keras.layers.Dense"), "dense"),
    **dict.fromkeys(("torch.nn.Conv2d", "layers.Conv2D"), "conv2d"),
    "nn.BatchNorm2d": "batch_normalization",
    "nn.LogSoftmax": "activation: {activation: log_softmax}",
    "nn.Hardswish": "activation: {activation: hard_silu}",
    "Tanhshrink": "activation: {activation: tanh_shrink}",
}
"""Names that Keras, Keras 1, PyTorch and Caffe have for a layer, with cnnctl's."""


@pytest.mark.parametrize(("name", "meant"), MEANT.items())
def test_a_layer_of_another_tool_is_told_by_its_name_here(name: str, meant: str) -> None:
    content = parse((CONFIGS_FOLDER / "quickstart.yaml").read_text(), "x").content
    content["model"]["layers"].insert(1, name)
    text = dump(content)
    problem = refused(text)[0]
    assert re.search(rf"(did you mean '|write - ){re.escape(meant)}\b|write - {re.escape(meant)}$", problem.message), problem
    for remedy, after in tried(text, problem):
        assert after is not None, remedy
        assert problem.message not in [each.message for each in after]

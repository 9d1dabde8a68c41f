"""The same training as fast as PyTorch's performance guide has it: bfloat16, channels_last, torch.compile, a fused optimizer.

After https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html. Batches are taken from tensors in memory, without a
DataLoader. `--trial` measures what is faster here, bfloat16 or float32, and this compiled or not, and prints their images/s.
It compiles before it measures; so does the training before its first step.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
from plain import Stopwatch, arguments, report
from plain_tensors import splits
from plain_torch_network import network
from torch.nn import functional as F

PRECISIONS = ("bfloat16", "float32")
WARM_UP, TRIED = 3, 30
"""Steps of a trial before it is measured, and measured."""
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def forward_of(model: Any, precision: str, compiled: bool) -> Callable[[Any], Any]:
    """Make a function that computes the logits in a precision."""
    compute = torch.compile(model) if compiled else model

    def forward(images: Any) -> Any:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bfloat16"):
            return compute(images)

    return forward


def loss_of(forward: Callable[[Any], Any], images: Any, labels: Any) -> Any:
    return F.cross_entropy(forward(images).float(), labels)


def step(forward: Callable[[Any], Any], optimizer: Any, images: Any, labels: Any) -> None:
    optimizer.zero_grad()
    loss_of(forward, images, labels).backward()
    optimizer.step()


def batches(dataset: Any, batch_size: int, shuffle: bool = False) -> Iterator[tuple[Any, Any]]:
    images, labels = dataset.tensors
    order = torch.randperm(len(images)) if shuffle else torch.arange(len(images))
    for chosen in order.split(batch_size):
        batch = images[chosen].to(DEVICE, memory_format=torch.channels_last)
        yield batch, labels[chosen].to(DEVICE)


def finish() -> None:
    """Wait for the steps on a GPU."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def accuracy(model: Any, forward: Callable[[Any], Any], dataset: Any, batch_size: int) -> float:
    model.eval()
    with torch.inference_mode():
        right = sum((forward(images).argmax(1) == labels).sum().item() for images, labels in batches(dataset, batch_size))
    return float(right / len(dataset))


def made(image: Any, options: Namespace) -> tuple[Any, Any]:
    """Make the network and its optimizer."""
    model = network(image, options).to(DEVICE, memory_format=torch.channels_last)
    return model, torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)


def tried(training: Any, options: Namespace, precision: str, compiled: bool) -> dict[str, Any]:
    """Measure the images/s of a few steps; None if this machine cannot compile."""
    way = {"precision": precision, "compiled": compiled}
    try:
        return {**way, "images_per_second": options.batch_size / steps_seconds(training, options, precision, compiled)}
    except Exception as error:  # torch.compile raises errors of many kinds where there is no compiler of C++
        sys.stderr.write(f"{precision}, compiled: {error}\n")
        return {**way, "images_per_second": None}


def steps_seconds(training: Any, options: Namespace, precision: str, compiled: bool) -> float:
    """Measure the median seconds of a step, after some to warm up."""
    model, optimizer = made(training.tensors[0].shape[1:], options)
    forward, seconds = forward_of(model.train(), precision, compiled), list[float]()
    for (images, labels), _ in zip(batches(training, options.batch_size), range(WARM_UP + TRIED), strict=False):
        start = time.perf_counter()
        step(forward, optimizer, images, labels)
        finish()
        seconds.append(time.perf_counter() - start)
    return median(seconds[WARM_UP:])


def trial(training: Any, options: Namespace) -> list[dict[str, Any]]:
    """Measure each precision, and the faster one compiled."""
    eager = [tried(training, options, precision, compiled=False) for precision in PRECISIONS]
    faster = max(eager, key=lambda way: way["images_per_second"] or 0)
    return [*eager, tried(training, options, faster["precision"], compiled=True)]


def compile_ahead(model: Any, forward: Callable[[Any], Any], training: Any, batch_size: int) -> None:
    """Compile for the sizes of a whole and of the last batch of an epoch; weights and statistics stay as they are."""
    state = copy.deepcopy(model.state_dict())
    for count in (batch_size, len(training) % batch_size or batch_size):
        images, labels = next(batches(training, count))
        loss_of(forward, images, labels).backward()
    model.load_state_dict(state)
    model.zero_grad()
    finish()


def train(training: Any, held_out: Any, test: Any, options: Namespace) -> None:
    model, optimizer = made(training.tensors[0].shape[1:], options)
    forward, watch = forward_of(model, options.precision, options.compiled), Stopwatch()
    if options.compiled:
        compile_ahead(model.train(), forward, training, options.batch_size)
    for _ in range(options.epochs):
        model.train()
        watch.begin()
        for images, labels in batches(training, options.batch_size, shuffle=True):
            step(forward, optimizer, images, labels)
        finish()
        watch.lap()
        accuracy(model, forward, held_out, options.batch_size)
    tested = accuracy(model, forward, test, options.batch_size)
    report(watch, len(training), tested, str(DEVICE), options.precision)


def main() -> None:
    options = arguments()
    training, held_out, test = splits(options.data)
    if options.trial:
        print(json.dumps(trial(training, options)))
    else:
        train(training, held_out, test, options)


main()

"""Evaluate or predict as PyTorch's first example has it: plain_torch_inference.py TASK IMAGES.npz PART NETWORK...

The weights are random. `--precision bfloat16` is for those who want it fast: autocast, channels_last, and no DataLoader.
"""

from __future__ import annotations

import argparse
import json
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from plain import add_network
from plain_tensors import loader, tensors
from plain_torch_network import network
from torch.nn import functional as F

TOP = 3
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batches(dataset: Any, options: Namespace) -> Iterator[tuple[Any, Any]]:
    if options.precision == "float32":
        yield from loader(dataset, options.batch_size)
        return
    images, labels = (each.split(options.batch_size) for each in dataset.tensors)
    for some, own in zip(images, labels, strict=True):
        yield some.contiguous(memory_format=torch.channels_last), own


def outputs(dataset: Any, options: Namespace) -> Iterator[tuple[Any, Any]]:
    """Compute the logits of each batch, and yield them with its labels."""
    model = network(dataset.tensors[0].shape[1:], options).to(DEVICE).eval()
    fast = options.precision == "bfloat16"
    model = model.to(memory_format=torch.channels_last) if fast else model
    with torch.inference_mode(), torch.autocast(DEVICE.type, torch.bfloat16, enabled=fast):
        for images, labels in batches(dataset, options):
            yield model(images.to(DEVICE)).float(), labels.to(DEVICE)


def evaluate(dataset: Any, options: Namespace) -> dict[str, float]:
    loss = right = 0.0
    for logits, labels in outputs(dataset, options):
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        right += (logits.argmax(1) == labels).sum().item()
    return {"loss": loss / len(dataset), "accuracy": right / len(dataset)}


def predict(dataset: Any, options: Namespace) -> list[dict[str, float]]:
    probabilities = torch.cat([logits.softmax(1) for logits, _ in outputs(dataset, options)]).cpu()
    values, labels = probabilities.topk(TOP)
    pairs = zip(labels.tolist(), values.tolist(), strict=True)
    return [dict(zip(map(str, chosen), best, strict=True)) for chosen, best in pairs]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=("evaluate", "predict"))
    parser.add_argument("images")
    parser.add_argument("part")
    add_network(parser)
    options = parser.parse_args()
    data = np.load(options.images)
    if options.task == "evaluate":
        found: Any = evaluate(tensors(data[f"{options.part}_images"], data[f"{options.part}_labels"]), options)
    else:
        images = data["x_test"]
        found = predict(tensors(images, np.zeros(len(images), np.int64)), options)
    print("\n" + json.dumps(found))


main()

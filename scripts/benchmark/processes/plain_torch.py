"""A training as PyTorch's first example has it: a DataLoader over tensors in memory, and the usual loop.

After https://github.com/pytorch/examples/blob/main/mnist/main.py, with the network and Adam of the config.
"""

from __future__ import annotations

from typing import Any

import torch
from plain import Stopwatch, arguments, report
from plain_tensors import loader, splits
from plain_torch_network import network
from torch.nn import functional as F

LOG_EVERY = 10
"""Batches, as in the example; each time the loss is read back from the device."""


def train(model: Any, device: Any, batches: Any, optimizer: Any, watch: Stopwatch) -> None:
    model.train()
    watch.begin()
    for step, (images, labels) in enumerate(batches):
        images, labels = images.to(device), labels.to(device)  # noqa: PLW2901 (as the example has it)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        if step % LOG_EVERY == 0:
            print(f"{step}/{len(batches)} loss {loss.item():.4f}")
    if device.type == "cuda":
        torch.cuda.synchronize()  # wait for the steps on the GPU
    watch.lap()


def accuracy(model: Any, device: Any, batches: Any) -> float:
    model.eval()
    right = loss = 0.0
    with torch.no_grad():
        for images, labels in batches:
            images, labels = images.to(device), labels.to(device)  # noqa: PLW2901
            output = model(images)
            loss += F.cross_entropy(output, labels, reduction="sum").item()
            right += (output.argmax(1) == labels).sum().item()
    count = len(batches.dataset)
    print(f"loss {loss / count:.4f}, accuracy {right / count:.4f}")
    return right / count


def main() -> None:
    options = arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training, validation, test = splits(options.data)
    model = network(training.tensors[0].shape[1:], options).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    watch = Stopwatch()
    batches = loader(training, options.batch_size, shuffle=True)
    held_out = loader(validation, options.batch_size)
    for _ in range(options.epochs):
        train(model, device, batches, optimizer, watch)
        accuracy(model, device, held_out)
    report(watch, len(training), accuracy(model, device, loader(test, options.batch_size)), str(device))


main()

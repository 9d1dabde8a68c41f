"""Images and network of configs/mnist.yaml as a user of PyTorch writes them."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def splits(file: str) -> list[TensorDataset]:
    """Read train, validation and test: float32 images (N, C, H, W) in [0, 1] and integer labels (N,)."""
    data = np.load(file)
    return [_tensors(data[f"{part}_images"], data[f"{part}_labels"]) for part in ("train", "validation", "test")]


def _tensors(images: Any, labels: Any) -> TensorDataset:
    scaled = torch.from_numpy(images.astype("float32") / 255).permute(0, 3, 1, 2).contiguous()
    return TensorDataset(scaled, torch.from_numpy(labels))


def loader(dataset: TensorDataset, batch_size: int, shuffle: bool = False) -> Any:
    """Make batches as in PyTorch's example: with a GPU, one worker and pinned memory."""
    with_gpu = {"num_workers": 1, "pin_memory": True} if torch.cuda.is_available() else {}
    return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, **with_gpu)


def network(image: tuple[int, ...], options: Namespace) -> nn.Module:
    """Build the network for images (C, H, W); its outputs are logits."""
    channels, height, width = image
    first, second = options.filters
    return nn.Sequential(
        nn.Conv2d(channels, first, 3, padding=options.padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=options.padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(second * _left(height, options.padding) * _left(width, options.padding), 10),
    )


def _left(size: int, padding: str) -> int:
    """Compute the height or width after two convolutions of 3 and two poolings of 2."""
    lost = 0 if padding == "same" else 2
    return ((size - lost) // 2 - lost) // 2

"""Images and network of configs/mnist.yaml as a user of PyTorch writes them."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def splits(file: str) -> list[TensorDataset]:
    """Returns train, validation and test: float32 images (N, C, H, W) in [0, 1] and integer labels (N,)."""
    data = np.load(file)
    return [_tensors(data[f"{part}_images"], data[f"{part}_labels"]) for part in ("train", "validation", "test")]


def _tensors(images: Any, labels: Any) -> TensorDataset:
    scaled = torch.from_numpy(images.astype("float32") / 255).permute(0, 3, 1, 2).contiguous()
    return TensorDataset(scaled, torch.from_numpy(labels))


def loader(dataset: TensorDataset, batch_size: int, shuffle: bool = False) -> Any:
    """Returns the batches as PyTorch's example makes them: a worker and pinned memory with a GPU, neither without."""
    with_gpu = {"num_workers": 1, "pin_memory": True} if torch.cuda.is_available() else {}
    return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, **with_gpu)


def network(image: tuple[int, ...], wish: Namespace) -> nn.Module:
    """Returns the network for images (C, H, W); it gives logits."""
    channels, height, width = image
    first, second = wish.filters
    return nn.Sequential(
        nn.Conv2d(channels, first, 3, padding=wish.padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=wish.padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(second * _left(height, wish.padding) * _left(width, wish.padding), 10),
    )


def _left(size: int, padding: str) -> int:
    """Returns what two convolutions of 3 and two poolings of 2 leave of a height or width."""
    lost = 0 if padding == "same" else 2
    return ((size - lost) // 2 - lost) // 2

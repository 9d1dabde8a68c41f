"""The images as a user of PyTorch reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset


def splits(file: str) -> list[TensorDataset]:
    """Read train, validation and test: float32 images (N, C, H, W) in [0, 1] and integer labels (N,)."""
    data = np.load(file)
    return [tensors(data[f"{part}_images"], data[f"{part}_labels"]) for part in ("train", "validation", "test")]


def tensors(images: Any, labels: Any) -> TensorDataset:
    """Convert images (N, H, W, C) and labels (N,) of uint8 pixels."""
    scaled = torch.from_numpy(images.astype("float32") / 255).permute(0, 3, 1, 2).contiguous()
    return TensorDataset(scaled, torch.from_numpy(labels))


def loader(dataset: TensorDataset, batch_size: int, shuffle: bool = False) -> Any:
    """Make batches as in PyTorch's example: with a GPU, one worker and pinned memory."""
    with_gpu = {"num_workers": 1, "pin_memory": True} if torch.cuda.is_available() else {}
    return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, **with_gpu)

"""The networks as a user of PyTorch writes them; all output logits. Batch normalization is that of the configs."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from torch import nn


def network(image: tuple[int, ...], options: Namespace) -> nn.Module:
    """Build the network of `--network` for images (C, H, W)."""
    return NETWORKS[options.network](image, options)


def mnist(image: tuple[int, ...], options: Namespace) -> nn.Module:
    """Build the network of configs/mnist.yaml, or for --growth a wider or deeper one."""
    channels, height, width = image
    first, second = (round(options.width * filters) for filters in (32, 64))
    deeper = [layer for _ in range(2, options.depth) for layer in (nn.Conv2d(second, second, 3, padding="same"), nn.ReLU())]
    lost = 0 if options.padding == "same" else 2
    left = [((size - lost) // 2 - lost) // 2 for size in (height, width)]
    return nn.Sequential(
        nn.Conv2d(channels, first, 3, padding=options.padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=options.padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        *deeper,
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(second * left[0] * left[1], 10),
    )


def mnist_best(image: tuple[int, ...], options: Namespace) -> nn.Module:
    """Build the network of configs/mnist-best.yaml: six convolutions with batch normalization."""
    channels, height, width = image
    lost = 0 if options.padding == "same" else 2
    left = [(size - 2 * lost) // 2 // 2 - lost for size in (height, width)]
    return nn.Sequential(
        *normalized(channels, 32, options.padding),
        *normalized(32, 32, options.padding),
        nn.MaxPool2d(2),
        *normalized(32, 64, "same"),
        *normalized(64, 64, "same"),
        nn.MaxPool2d(2),
        *normalized(64, 128, "same"),
        *normalized(128, 128, options.padding),
        nn.Flatten(),
        nn.Dropout(0.4),
        nn.Linear(128 * left[0] * left[1], 10),
    )


def normalized(channels: int, filters: int, padding: str) -> list[nn.Module]:
    """Make a convolution with ReLU, and batch normalization."""
    return [nn.Conv2d(channels, filters, 3, padding=padding), nn.ReLU(), batch_norm(filters, momentum=0.01)]


def batch_norm(channels: int, momentum: float = 0.1) -> nn.Module:
    """Make a batch normalization; PyTorch's momentum is 1 minus Keras's."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=momentum)


def mobilenet(image: tuple[int, ...], options: Namespace) -> nn.Module:
    """Build the network of configs/mobilenet.yaml: blocks with depthwise convolutions."""
    return nn.Sequential(
        nn.Conv2d(image[0], 16, 3, stride=2, padding=1, bias=False),
        batch_norm(16),
        nn.ReLU6(),
        Residual(inverted(16, 64, 16)),
        inverted(16, 64, 24, stride=2),
        Residual(inverted(24, 96, 24)),
        inverted(24, 96, 40, stride=2),
        Residual(inverted(40, 160, 40)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(40, 10),
    )


def inverted(channels: int, expanded: int, filters: int, stride: int = 1) -> nn.Module:
    """Expand the channels, filter each, and reduce them: the block of MobileNetV2."""
    return nn.Sequential(
        nn.Conv2d(channels, expanded, 1, bias=False),
        batch_norm(expanded),
        nn.ReLU6(),
        nn.Conv2d(expanded, expanded, 3, stride=stride, padding=1, groups=expanded, bias=False),
        batch_norm(expanded),
        nn.ReLU6(),
        nn.Conv2d(expanded, filters, 1, bias=False),
        batch_norm(filters),
    )


class Residual(nn.Module):
    """Adds the output of a module to its input."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        return x + self.inner(x)


NETWORKS = {"mnist": mnist, "mnist-best": mnist_best, "mobilenet": mobilenet}

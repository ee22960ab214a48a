"""Residual networks for small images, and the head that contrastive pre-training puts on them."""

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Block", "Projected", "ResNet", "resnet18", "resnet50"]

NUM_DIMENSIONS = 128


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut, which is projected where the shape changes."""

    EXPANSION = 1

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.first = _convolution(in_channels, channels, size=3, stride=stride)
        self.second = _convolution(channels, channels, size=3, stride=1)
        self.shortcut = _shortcut(in_channels, channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H / stride, W / stride)."""
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, around a shortcut; four times as many channels out as inside."""

    EXPANSION = 4

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.reduce = _convolution(in_channels, channels, size=1, stride=1)
        self.middle = _convolution(channels, channels, size=3, stride=stride)
        self.expand = _convolution(channels, channels * self.EXPANSION, size=1, stride=1)
        self.shortcut = _shortcut(in_channels, channels * self.EXPANSION, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, 4 * channels, H / stride, W / stride)."""
        inside = F.relu(self.middle(F.relu(self.reduce(x))))
        return F.relu(self.expand(inside) + self.shortcut(x))


class ResNet(nn.Module):
    """A 3x3 convolution without pooling, stages of residual blocks, and a linear classifier of their mean.

    Args:
        in_channels: Channels of the images.
        num_classes: Classes C.
        block: The residual block.
        widths: Channels of each stage.
        depths: Blocks in each stage.
        strides: Stride of the first convolution, then of each stage's first block.

    References:
        He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), with the first layer for CIFAR's images.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        block: type[Block] | type[Bottleneck],
        widths: Sequence[int],
        depths: Sequence[int],
        strides: Sequence[int],
    ) -> None:
        super().__init__()
        self.stem = _convolution(in_channels, widths[0], size=3, stride=strides[0])
        stages, channels = [], widths[0]
        for width, depth, stride in zip(widths, depths, strides[1:], strict=True):
            blocks = []
            for position in range(depth):
                blocks.append(block(channels, width, stride=stride if position == 0 else 1))
                channels = width * block.EXPANSION
            stages.append(nn.Sequential(*blocks) if depth > 1 else blocks[0])  # saved weights are called so
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W) to logits (B, C)."""
        features: Tensor = self.stages(F.relu(self.stem(x)))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


class Projected(nn.Module):
    """An encoder and SimCLR's head of two layers, z = W₂ relu(W₁ h), on its features h; thrown away after training.

    Args:
        encoder: Maps images to features (B, D).
        num_features: D.

    References:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (ICML 2020), section 2.1.
    """

    def __init__(self, encoder: nn.Module, *, num_features: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.hidden = nn.Linear(num_features, num_features)
        self.projection = nn.Linear(num_features, NUM_DIMENSIONS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, C, H, W) to features (B, D) and projections (B, 128)."""
        features: Tensor = self.encoder(x)
        projections: Tensor = self.projection(F.relu(self.hidden(features)))
        return features, projections


def resnet18(in_channels: int, num_classes: int) -> nn.Module:
    """Return a ResNet-18, 11 million parameters."""
    return _large(in_channels, num_classes, block=Block, depths=(2, 2, 2, 2))


def resnet50(in_channels: int, num_classes: int) -> nn.Module:
    """Return a ResNet-50, 24 million parameters."""
    return _large(in_channels, num_classes, block=Bottleneck, depths=(3, 4, 6, 3))


_large = partial(ResNet, widths=(64, 128, 256, 512), strides=(1, 1, 2, 2, 2))


def _convolution(in_channels: int, channels: int, *, size: int, stride: int) -> nn.Sequential:
    """Return a convolution without bias, and the batch norm behind it."""
    convolution = nn.Conv2d(in_channels, channels, size, stride=stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels))


def _shortcut(in_channels: int, channels: int, *, stride: int) -> nn.Module:
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    return _convolution(in_channels, channels, size=1, stride=stride)

"""A residual network that two CPU cores can train: one block per stage, batch norm, global average pooling."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Block", "SmallResNet", "convolution"]


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut, which is projected where the shape changes."""

    EXPANSION = 1

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.first = convolution(in_channels, channels, size=3, stride=stride)
        self.second = convolution(channels, channels, size=3, stride=1)
        same = stride == 1 and in_channels == channels
        self.shortcut = nn.Identity() if same else convolution(in_channels, channels, size=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H / stride, W / stride)."""
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class SmallResNet(nn.Module):
    """A stem, one residual block per width, and a linear classifier.

    Args:
        in_channels: Channels of the images.
        num_classes: Classes C.
        widths: Channels of each stage.
        strides: Stride of the stem, then of each stage.
    """

    def __init__(self, *, in_channels: int, num_classes: int, widths: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.stem = convolution(in_channels, widths[0], size=3, stride=strides[0])
        inputs = (widths[0], *widths[:-1])
        self.stages = nn.Sequential(
            *(Block(i, o, stride=stride) for i, o, stride in zip(inputs, widths, strides[1:], strict=True))
        )
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W) to logits (B, C)."""
        features: Tensor = self.stages(F.relu(self.stem(x)))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


def convolution(in_channels: int, channels: int, *, size: int, stride: int) -> nn.Sequential:
    """Return a convolution without bias, and the batch norm behind it."""
    convolution = nn.Conv2d(in_channels, channels, size, stride=stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels))

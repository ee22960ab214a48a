"""ResNet-18 and ResNet-50 with the CIFAR stem: a 3x3 convolution of stride 1 and no pooling, for small images."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from emprune_lab.models.small_resnet import Block, convolution

__all__ = ["ResNet", "resnet18", "resnet50"]

WIDTHS = (64, 128, 256, 512)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, around a shortcut; four times as many channels out as inside."""

    EXPANSION = 4

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        out_channels = channels * self.EXPANSION
        self.reduce = convolution(in_channels, channels, size=1, stride=1)
        self.middle = convolution(channels, channels, size=3, stride=stride)
        self.expand = convolution(channels, out_channels, size=1, stride=1)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else convolution(in_channels, out_channels, size=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, 4 * channels, H / stride, W / stride)."""
        inside = F.relu(self.middle(F.relu(self.reduce(x))))
        return F.relu(self.expand(inside) + self.shortcut(x))


class ResNet(nn.Module):
    """He et al. 2016, for images of about 32x32 pixels.

    Args:
        block: The residual block.
        depths: Blocks in each of the four stages, of which all but the first begin with stride 2.
        in_channels: Channels of the images.
        num_classes: Classes C.
    """

    def __init__(
        self, block: type[Block] | type[Bottleneck], depths: Sequence[int], *, in_channels: int, num_classes: int
    ) -> None:
        super().__init__()
        self.stem = convolution(in_channels, WIDTHS[0], size=3, stride=1)
        stages, channels = [], WIDTHS[0]
        for number, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True)):
            blocks = []
            for place in range(depth):
                blocks.append(block(channels, width, stride=2 if number and place == 0 else 1))
                channels = width * block.EXPANSION
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W) to logits (B, C)."""
        features: Tensor = self.stages(F.relu(self.stem(x)))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


def resnet18(in_channels: int, num_classes: int) -> nn.Module:
    """Return a ResNet-18, 11 million parameters."""
    return ResNet(Block, (2, 2, 2, 2), in_channels=in_channels, num_classes=num_classes)


def resnet50(in_channels: int, num_classes: int) -> nn.Module:
    """Return a ResNet-50, 24 million parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), in_channels=in_channels, num_classes=num_classes)

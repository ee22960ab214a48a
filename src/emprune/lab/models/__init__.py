"""The models and their registry. A new model is one line below."""

from collections.abc import Callable

from torch import nn

from emprune.lab.errors import unknown_name
from emprune.lab.models.small_resnet import SmallResNet

__all__ = ["MODELS", "make_model"]


def _small_resnet(in_channels: int, num_classes: int) -> nn.Module:
    return SmallResNet(in_channels=in_channels, num_classes=num_classes, widths=(16, 32, 64), strides=(2, 1, 2, 2))


def _tiny_resnet(in_channels: int, num_classes: int) -> nn.Module:
    return SmallResNet(in_channels=in_channels, num_classes=num_classes, widths=(16, 32, 64), strides=(1, 1, 2, 2))


MODELS: dict[str, Callable[[int, int], nn.Module]] = {"small-resnet": _small_resnet, "tiny-resnet": _tiny_resnet}
"""Builders, given the images' channels and the number of classes."""


def make_model(name: str, *, in_channels: int, num_classes: int) -> nn.Module:
    """Return a freshly initialised model; the weights come from torch's global generator.

    Raises:
        ConfigError: If there is no model of that name; the message lists those there are.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    return MODELS[name](in_channels, num_classes)

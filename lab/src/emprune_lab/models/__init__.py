"""The models and their registry. A new model is one entry below."""

import importlib.util
from collections.abc import Callable
from functools import partial

from torch import nn

from emprune.errors import ConfigError
from emprune_lab.errors import unknown_name
from emprune_lab.models.resnet import Block, Projected, ResNet, resnet18, resnet50

__all__ = ["MODELS", "check_encoder", "check_model", "make_encoder", "make_model"]

_small = partial(ResNet, block=Block, widths=(16, 32, 64), depths=(1, 1, 1))

MODELS: dict[str, Callable[[int, int], nn.Module]] = {
    "tiny-resnet": partial(_small, strides=(1, 1, 2, 2)),
    "small-resnet": partial(_small, strides=(2, 1, 2, 2)),
    "resnet18": resnet18,
    "resnet50": resnet50,
}
"""Builders, given the images' channels and the number of classes. The first two are for two CPU cores."""


def _torchvision(name: str, in_channels: int, num_classes: int) -> nn.Module:
    from torchvision.models import get_model, list_models

    if name not in list_models():
        raise unknown_name("torchvision model", name, list_models())
    if in_channels != 3:
        raise ConfigError(f"torchvision's models take images of 3 channels; got {in_channels}. timm's take any.")
    model: nn.Module = get_model(name, weights=None, num_classes=num_classes)
    return model


def _timm(name: str, in_channels: int, num_classes: int) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())
    model: nn.Module = timm.create_model(name, pretrained=False, in_chans=in_channels, num_classes=num_classes)
    return model


LIBRARIES: dict[str, Callable[[str, int, int], nn.Module]] = {"timm": _timm, "torchvision": _torchvision}
"""Builders of `LIBRARY:NAME`, of libraries that may or may not be installed."""


def check_model(name: str) -> None:
    """Raise ConfigError unless there is a model of that name, or its library is installed."""
    library, colon, _ = name.partition(":")
    if name in MODELS:
        return
    if not colon or library not in LIBRARIES:
        raise unknown_name("model", name, [*MODELS, *(f"{library}:NAME" for library in LIBRARIES)])
    if importlib.util.find_spec(library) is None:
        raise ConfigError(f"The model {name!r} needs {library}, which is not installed: pip install {library}.")


def make_model(name: str, *, in_channels: int, num_classes: int) -> nn.Module:
    """Return a freshly initialised model; the weights come from torch's global generator.

    Args:
        name: One of `MODELS`, or `torchvision:NAME` or `timm:NAME`.
        in_channels: Channels of the images.
        num_classes: Classes C.

    Raises:
        ConfigError: If there is no model of that name; the message lists those there are.
    """
    check_model(name)
    if name in MODELS:
        return MODELS[name](in_channels, num_classes)
    library, _, rest = name.partition(":")
    return LIBRARIES[library](rest, in_channels, num_classes)


def check_encoder(name: str) -> None:
    """Raise ConfigError unless the model of that name can be had without its classifier."""
    if name not in MODELS:
        raise ConfigError(
            f"Only our own models can be had without their classifier, which pre-training needs; got model={name!r}. "
            f"There are: {', '.join(MODELS)}."
        )


def make_encoder(name: str, *, in_channels: int) -> Projected:
    """Return one of `MODELS`, freshly initialised, with a projection head instead of its classifier.

    Raises:
        ConfigError: If it is none of those.
    """
    check_encoder(name)
    encoder = MODELS[name](in_channels, 1)
    classifier = encoder.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear), "our own models end in one"
    encoder.classifier = nn.Identity()
    return Projected(encoder, num_features=classifier.in_features)

"""Contrastive pre-training on the images of the classification tasks, whose labels are for scoring only."""

import dataclasses

import torch
from torch import Tensor

from emprune_lab.data.views import blur, crop_and_flip, recolour
from emprune_lab.tasks.cifar import CIFAR10, CIFAR100
from emprune_lab.tasks.digits import DIGITS
from emprune_lab.tasks.fashion_mnist import FASHION_MNIST
from emprune_lab.tasks.task import ImageTask, Recipe

__all__ = ["SIMCLR_TASKS"]

STRENGTH = 0.5

QUICK = Recipe(
    model="small-resnet", epochs=40, batch_size=256, max_lr=0.3, weight_decay=1e-4, label_smoothing=0, schedule="cosine"
)
PUBLISHED = Recipe(
    model="resnet50",
    epochs=1000,
    batch_size=1024,
    max_lr=1.0,
    optimizer="lars",
    weight_decay=1e-6,
    label_smoothing=0,
    schedule="cosine",
)
"""SimCLR's for CIFAR-10 (its appendix B.9): temperature 0.5 and LARS."""


def colour_view(generator: torch.Generator, x: Tensor) -> Tensor:
    """Crop, mirror and recolour: SimCLR's view of a CIFAR image, which leaves the blur out."""
    return recolour(generator, crop_and_flip(generator, x), strength=STRENGTH)


def grey_view(generator: torch.Generator, x: Tensor) -> Tensor:
    """Crop, mirror, change brightness and contrast, and blur: of SimCLR's distortions those that a grey image has."""
    return blur(generator, recolour(generator, crop_and_flip(generator, x), strength=STRENGTH))


def _simclr(task: ImageTask) -> ImageTask:
    return dataclasses.replace(
        task,
        name=f"simclr-{task.name}",
        description=f"contrastive pre-training on {task.name}; scored by a linear probe and nearest neighbours",
        augment=colour_view if task.input_shape[0] == 3 else grey_view,
        recipe=QUICK,
        recipes={"published": PUBLISHED},
        objective="contrastive",
    )


SIMCLR_TASKS = tuple(map(_simclr, (DIGITS, FASHION_MNIST, CIFAR10, CIFAR100)))

"""Contrastive pre-training on the images of the classification tasks; the labels are for scoring only."""

import dataclasses

import torch
from torch import Tensor

from emprune_lab.data.augment import blur, crop_and_flip, recolour
from emprune_lab.tasks.task import ImageTask, Recipe

__all__ = ["colour_view", "grey_view", "simclr"]

STRENGTH = 0.5

QUICK = Recipe(
    model="small-resnet", epochs=40, batch_size=256, max_lr=0.3, weight_decay=1e-4, label_smoothing=0, schedule="cosine"
)
PUBLISHED = dataclasses.replace(
    QUICK, model="resnet50", epochs=1000, batch_size=1024, max_lr=1.0, optimizer="lars", weight_decay=1e-6
)
"""SimCLR's for CIFAR-10 (its appendix B.9): temperature 0.5 and LARS."""


def colour_view(generator: torch.Generator, x: Tensor) -> Tensor:
    """Crop, mirror and recolour: SimCLR's view of a CIFAR image, which leaves the blur out."""
    return recolour(generator, crop_and_flip(generator, x), strength=STRENGTH)


def grey_view(generator: torch.Generator, x: Tensor) -> Tensor:
    """Crop, mirror, change brightness and contrast, and blur: of SimCLR's distortions those that a grey image has."""
    return blur(generator, colour_view(generator, x))


def simclr(task: ImageTask) -> ImageTask:
    """Return the task of pre-training on the images of another."""
    return dataclasses.replace(
        task,
        name=f"simclr-{task.name}",
        description=f"contrastive pre-training on {task.name}; scored by a linear probe and nearest neighbours",
        augment=colour_view if task.input_shape[0] == 3 else grey_view,
        recipe=QUICK,
        recipes={"published": PUBLISHED},
        objective="contrastive",
    )

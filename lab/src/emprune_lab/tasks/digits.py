"""The digits embedded in scikit-learn: no download, seconds to train."""

from functools import partial
from pathlib import Path

import torch

from emprune_lab.data.augment import shift
from emprune_lab.data.dividing import with_test_part
from emprune_lab.data.splits import Split, Splits
from emprune_lab.tasks.task import ImageTask, Recipe

__all__ = ["DIGITS"]


def read(_folder: Path) -> Splits:
    """Return 1,347 training and 450 test images: a stratified split of 75 to 25 with a fixed seed."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(pixels).to(torch.uint8).reshape(-1, 1, 8, 8)
    return with_test_part(Split(x, torch.from_numpy(labels).long()), one_in=4)


DIGITS = ImageTask(
    name="digits",
    description="1,347 + 450 handwritten digits of 8x8 pixels, 10 classes; part of scikit-learn, no download",
    num_classes=10,
    input_shape=(1, 8, 8),
    mean=(4.884,),
    std=(6.017,),
    read=read,
    augment=partial(shift, pixels=1),
    recipe=Recipe(model="tiny-resnet", epochs=30, batch_size=64, max_lr=0.2),
)

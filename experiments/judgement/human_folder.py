"""CIFAR-10 as a folder of images, sorted by the labels that people gave; the test images by their right labels.

python experiments/judgement/human_folder.py FOLDER/cifar10n.npz --out runs/judgement/cifar10-human
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from emprune_lab.tasks import get_task
from numpy.typing import NDArray
from PIL import Image

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def write_part(images: NDArray[np.uint8], labels: Sequence[int], folder: Path) -> None:
    """Write (N, 3, 32, 32) images to FOLDER/CLASS/POSITION.png."""
    for name in NAMES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for position, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / NAMES[label] / f"{position:05}.png")


def main(
    file: Annotated[Path, typer.Argument(help="cifar10n.npz of CIFAR-10N.", exists=True)],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    kind: Annotated[str, typer.Option(help="Whose labels.")] = "random_label1",
    data_dir: Annotated[Path | None, typer.Option(help="Where CIFAR-10 is cached.")] = None,
) -> None:
    """Write OUT/train and OUT/test."""
    human, splits = np.load(file), get_task("cifar10").load(data_dir)
    if not np.array_equal(human["clean_label"], splits.train.y.numpy()):
        raise typer.BadParameter(f"The images must be in the order of {file}. Use the official release.")
    write_part(splits.train.x.numpy(), human[kind].tolist(), out / "train")
    write_part(splits.test.x.numpy(), splits.test.y.tolist(), out / "test")
    typer.echo(f"{out}: {np.mean(human[kind] != human['clean_label']):.1%} of the training labels are wrong.")


if __name__ == "__main__":
    typer.run(main)

"""WebDataset shards of small images, each with its position as its label."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import webdataset as wds
from PIL import Image

SIZES = [13, 4, 17, 6]
NUM_SAMPLES = sum(SIZES)


def image_of(position: int) -> Any:
    return np.full((4, 4, 3), position, dtype=np.uint8)


def write_shards(folder: Path, *, sizes: list[int] = SIZES, key: str = "{:05d}") -> list[str]:
    """Write shards whose image number p has p as its colour and as its label; return their paths."""
    paths, position = [], 0
    for number, size in enumerate(sizes):
        paths.append(str(folder / f"{number:03d}.tar"))
        with wds.TarWriter(paths[-1]) as writer:
            for _ in range(size):
                png = io.BytesIO()
                Image.fromarray(image_of(position)).save(png, "PNG")
                writer.write({"__key__": key.format(position), "PNG": png.getvalue(), "cls": position})
                position += 1
    return paths


def pipeline(paths: Any, **options: Any) -> Any:
    """The pipeline of these shards: (image, label)."""
    dataset = wds.WebDataset(paths, **{"shardshuffle": False, **options})
    return dataset.decode("rgb8").to_tuple("png", "cls").map_tuple(np.array)  # a copy that may be written to

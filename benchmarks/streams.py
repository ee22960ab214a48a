"""What pruning saves where images are read from WebDataset shards and decoded: images per second, with and without.

    python benchmarks/streams.py cifar10

writes the training images as JPEG files into tar shards, once, and indexes them. Then it reads epochs in turns:
WebDataset as it is, all images through PrunedStream, and a plan of `--keep` of them. Nothing is trained: what is timed
is reading, decoding and batching. The figures are of the processor's time, which other work on the machine hardly
changes; the time on the clock is printed too. `--pipe` reads the shards through `cat`, as a stream from elsewhere
comes: nothing in it is jumped over. `--help` says more; the lab and the extra `streams` are needed.
"""

import argparse
import io
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset as wds
from emprune_lab.tasks import get_task
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

import emprune
from emprune.integrations.webdataset import TarIndex, WebDatasetStream, index_shards


def main() -> None:
    """Write the shards where they are missing, measure, and print lines of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", default="cifar10", help="a task on images, by name (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=50, help="how many are written (default: %(default)s)")
    parser.add_argument("--images", type=int, help="write so many of the images (default: all)")
    parser.add_argument("--size", type=int, help="pixels to a side that they are resized to (default: as they are)")
    parser.add_argument("--keep", type=float, default=0.3, help="share of an epoch (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="of the DataLoader (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="epochs of each kind (default: %(default)s)")
    parser.add_argument("--pipe", action="store_true", help="read the shards through a pipe")
    parser.add_argument("--folder", type=Path, help="where the shards are kept (default: a temporary folder)")
    parser.add_argument("--data-dir", type=Path, help="where data is kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps({"python": platform.python_version(), "torch": torch.__version__, "webdataset": wds.__version__,
                      "emprune": emprune.__version__, **_given(options)}))  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        paths = written(options, folder)
        start = time.perf_counter()
        index = index_shards(paths)
        print(json.dumps({"images": index.num_samples, "index_seconds": round(time.perf_counter() - start, 2)}))
        for line in measure(paths, index, options):
            print(json.dumps(line), flush=True)


def written(options: argparse.Namespace, folder: Path) -> list[str]:
    """Return the shards' paths; write them where the folder has none."""
    paths = sorted(map(str, folder.glob("*.tar")))
    if paths:
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    task: Any = get_task(options.task)
    train = task.load(data_dir=options.data_dir).train
    images, labels = train.x[: options.images], train.y[: options.images]
    numbers = np.array_split(np.random.default_rng(0).permutation(len(images)), options.shards)
    for shard, mine in enumerate(numbers):
        paths.append(str(folder / f"{shard:04d}.tar"))
        with wds.TarWriter(paths[-1]) as writer:
            for number in mine.tolist():
                jpeg = encoded(images[number], options.size)
                writer.write({"__key__": f"{number:06d}", "jpg": jpeg, "cls": int(labels[number])})
    return paths


def encoded(image: Tensor, size: int | None) -> bytes:
    """Return an image, (C, H, W) uint8, as a JPEG file."""
    pixels = image.permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if size is not None:
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def measure(paths: list[str], index: TarIndex, options: argparse.Namespace) -> Iterable[dict[str, Any]]:
    """Yield what each kind of epoch takes; the kinds take turns, so that other work on the machine meets all."""
    addresses = [f"pipe:cat {path}" for path in paths] if options.pipe else paths
    settings: dict[str, Any] = {"batch_size": 128, "num_workers": options.workers}

    def pipeline(**shuffling: Any) -> Any:
        dataset = wds.WebDataset(addresses, shardshuffle=len(paths), **shuffling)
        return dataset if not shuffling else dataset.shuffle(1000)

    def decoded(dataset: Any) -> Any:
        return dataset.decode("pil").to_tuple("jpg", "cls").map_tuple(to_tensor)

    plain = DataLoader(decoded(pipeline(seed=0)), **settings)
    stream = DataLoader(WebDatasetStream(decoded(pipeline()), index), **settings)
    epochs = options.repeats + 1
    full = emprune.PrunedStream(stream, emprune.Full(), num_epochs=epochs)
    pruned = emprune.PrunedStream(stream, "random", num_epochs=epochs, keep=options.keep)
    kinds: dict[str, Callable[[], Iterable[Any]]] = {
        "WebDataset": lambda: plain,
        "PrunedStream, all": lambda: (batch for _, batch in following(full)),
        f"PrunedStream, keep {options.keep}": lambda: (batch for _, batch in following(pruned)),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    on_the_clock: dict[str, list[float]] = {kind: [] for kind in kinds}
    read = dict.fromkeys(kinds, 0)
    for repeat in range(epochs):
        for kind, begin in kinds.items():
            start, clock = spent(), time.perf_counter()
            read[kind] = sum(len(labels) for _, labels in begin())
            if repeat:  # the first fills the file cache
                seconds[kind].append(spent() - start)
                on_the_clock[kind].append(time.perf_counter() - clock)
    for kind, times in seconds.items():
        median = statistics.median(times)
        yield {
            "kind": kind,
            "seconds of an epoch": round(median, 2),
            "images": read[kind],
            "passed over": pruned.num_passed_over if read[kind] < index.num_samples else 0,
            "read a second": round(read[kind] / median),
            "of the data a second": round(index.num_samples / median),
            "all seconds": [round(value, 2) for value in times],
            "on the clock": [round(value, 2) for value in on_the_clock[kind]],
        }


def spent() -> float:
    """Return the processor's seconds of this process, and of its workers and pipes that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def following(loader: emprune.PrunedStream) -> emprune.PrunedStream:
    """Return a loader in its next epoch."""
    loader.set_epoch(loader.pruner.epoch + 1)
    return loader


def to_tensor(picture: Any) -> Tensor:
    """Return an image as floats in [0, 1]: (C, H, W)."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _given(options: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if not isinstance(value, Path)}


if __name__ == "__main__":
    main()

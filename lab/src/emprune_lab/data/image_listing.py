"""The images that a user's folder holds, and their classes. What is hidden does not count, links are followed."""

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emprune.errors import ConfigError
from emprune_lab.data.parts import PART, TEST_NAMES, TRAIN_NAMES, find_parts, other_parts
from emprune_lab.errors import DataError

__all__ = ["Layout", "digest_of", "files_of", "find_layout", "left_out", "list_images"]

ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Layout:
    """Where a folder has its parts, and the sorted names of its classes: a label is a position among them.

    `others` says which parts are not read.
    """

    train: Path
    test: Path | None
    classes: tuple[str, ...]
    others: str | None


def find_layout(path: Path) -> Layout:
    """Return where PATH has its parts: `train/` and `test/` by any of their names, or classes alone.

    Raises:
        ConfigError: If it has a test part alone, several parts of one kind, names that are parts' and not understood,
            or fewer than two classes.
    """
    folders = _folders(path)
    train, test = find_parts(path, folders)
    others = other_parts(folders, (train, test)) if train else None
    return Layout(train or path, test, _classes(train or path), others)


def list_images(folder: Path, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """Return the images of a part, class by class, and the label of each; DataError for others, or none."""
    found = [(image, label) for label, name in enumerate(classes) for image in _images_below(folder / name)]
    strange = [entry.name for entry in _folders(folder) if entry.name not in classes and _images_below(entry)]
    if strange:
        raise DataError(f"{folder} holds classes that the training part lacks: {', '.join(strange)}.")
    if not found:
        raise DataError(f"{folder} holds no images.")
    return [image for image, _ in found], [label for _, label in found]


def files_of(layout: Layout) -> list[Path]:
    """Return the files of all parts in order, each once, images or not."""
    parts = [layout.train] if layout.test is None else [layout.train, layout.test]
    return sorted({file for part in parts for file in _files_below(part)})


def digest_of(path: Path, files: Sequence[Path]) -> str:
    """Say in a word which images there are: names and sizes in bytes, which another machine's copy has too."""
    key = hashlib.sha256()
    for file in _images_among(files):
        key.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
    return key.hexdigest()[:12]


def left_out(layout: Layout, files: Sequence[Path]) -> str | None:
    """Say how many files among the classes do not count, because they do not end as images do; None for none."""
    folders = {part / name for part in (layout.train, layout.test or layout.train) for name in layout.classes}
    others = [file for file in files if file.suffix.lower() not in ENDINGS and not folders.isdisjoint(file.parents)]
    if not others:
        return None
    endings = Counter(file.suffix.lower() or "no ending" for file in others)
    counts = ", ".join(f"{number:,} {ending}" for ending, number in endings.most_common())
    return f"Files that are not read: {counts}. Images end in {', '.join(sorted(ENDINGS))}."


def _images_below(folder: Path) -> list[Path]:
    return _images_among(_files_below(folder))


def _images_among(files: Sequence[Path]) -> list[Path]:
    """Return the images among files; DataError for one that cannot be read."""
    images = [file for file in files if file.suffix.lower() in ENDINGS]
    for image in images:
        if not image.is_file():
            raise DataError(f"{image} is no file that can be read, or a link to none. Repair or remove it.")
    return images


def _files_below(folder: Path) -> list[Path]:
    """Return the files of a folder and those below it in order, hidden ones left out.

    Linked folders count, except those that lead back to a folder above them.
    """
    return sorted(_walk(folder, {folder.resolve()})) if folder.is_dir() else []


def _walk(folder: Path, above: Collection[Path]) -> Iterator[Path]:
    for entry in _visible(folder):
        if entry.is_dir():
            real = entry.resolve()
            if real not in above:
                yield from _walk(entry, {*above, real})
        else:
            yield entry


def _visible(folder: Path) -> Iterator[Path]:
    for name in os.listdir(folder):
        if name.startswith("."):
            continue
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"Names of files must be UTF-8; got {os.fsencode(name)!r} in {os.fsencode(folder)!r}. Rename it."
            ) from None
        yield folder / name


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in _visible(folder) if entry.is_dir())


def _classes(folder: Path) -> tuple[str, ...]:
    classes = [entry.name for entry in _folders(folder) if _images_below(entry)]
    parts = [f"{name}/" for name in classes if PART.fullmatch(name.lower())]
    if parts:
        raise ConfigError(
            f"{folder} must hold a folder for each class; got {', '.join(parts)}, named like a part of the data. Name "
            f"the parts {' or '.join(TRAIN_NAMES)} and {' or '.join(TEST_NAMES)}, or the class otherwise."
        )
    if len(classes) < 2:
        raise ConfigError(
            f"{folder} must hold a folder of images for each of at least two classes; got {len(classes)}. "
            f"Images end in {', '.join(sorted(ENDINGS))}."
        )
    return tuple(classes)

"""What an earlier run knew of its samples, for a run that starts from it: which file it is, and whether it fits."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emprune.errors import ConfigError
from emprune_lab.files import home_expanded

__all__ = ["check_same_labels", "file_digest", "samples_file"]


def samples_file(initial: str) -> Path:
    """Return the file of a run's samples.

    Args:
        initial: The run's folder, or the file itself.

    Raises:
        ConfigError: If there is none.
    """
    path = home_expanded(initial)
    file = path / "samples.parquet" if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(
            f"`initial` must be the folder of a finished run, or its samples.parquet; got {initial!r}, where there is "
            "none. Finish that run, or name another.",
            parameter="initial",
            value=initial,
        )
    return file


def file_digest(file: Path) -> str:
    """Return a few characters by which a run's settings know the file again."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def check_same_labels(file: Path, labels: NDArray[np.int64]) -> None:
    """Raise ConfigError if a file of samples has other labels than these, (N,): it is of other samples, then.

    A file without labels, as `pruner.to_frame()` makes one, is taken as it is.
    """
    import pyarrow.parquet as pq

    if "label" not in pq.read_schema(file).names:
        return
    found = pq.read_table(file, columns=["label"])["label"].to_numpy()
    if not np.array_equal(found, labels):
        differing = int(np.count_nonzero(found != labels))
        raise ConfigError(
            f"`initial` must be of a run on the same training data; got {str(file)!r}, where {differing:,} of "
            f"{len(labels):,} samples have other labels. Give the data settings of that run, and its seed if it drew a "
            "subset.",
            parameter="initial",
            value=str(file),
        )

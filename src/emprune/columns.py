"""One number per sample: what each is called, how it is stored, and those that every method has."""

from dataclasses import dataclass

import torch

from emprune.errors import ConfigError

__all__ = ["BASE_COLUMNS", "BEFORE", "MOST_FAILURES", "NEVER", "Column"]

_OF_FRAMES = ("position", "score", "kept")
_DTYPES = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.float32, torch.float64,
)  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One number per sample that a method remembers.

    Args:
        name: Its name, the key in `SampleStats`.
        meaning: What it holds, in a few words.
        dtype: How it is stored: bool, an integer or a float, as NumPy has them.
        initial: Its value before the first visit.

    Raises:
        ConfigError: If the dtype is none of these, or `to_frame` has a column of that name.
    """

    name: str
    meaning: str
    dtype: torch.dtype = torch.float32
    initial: float = 0.0

    def __post_init__(self) -> None:
        if self.name in _OF_FRAMES:
            raise ConfigError(
                f"A column's `name` must not be one of {', '.join(_OF_FRAMES)}, which to_frame() has for what it adds; "
                f"got {self.name!r}.",
                parameter="name",
                value=self.name,
            )
        if self.dtype not in _DTYPES:
            raise ConfigError(
                f"A column's `dtype` must be bool, integer or float, as NumPy has them; got {self.dtype} for "
                f"{self.name!r}. Use torch.float32.",
                parameter="dtype",
                value=self.dtype,
            )


NEVER = -1
"""`last_visit` of a sample without a valid observation."""
BEFORE = -2
"""`last_visit` of a sample that an earlier run observed, and this one not yet."""
MOST_FAILURES = 127
"""As many as an int8 holds."""

BASE_COLUMNS = (
    Column("visits", "epochs in which the sample was observed", torch.int32),
    Column(
        "last_visit",
        "epoch of the last valid observation; -1 before the first, -2 if an earlier run made it",
        torch.int32,
        NEVER,
    ),
    Column("failures", "visits without a finite observation, in a row", torch.int8),
    Column("loss", "the last valid loss", torch.float32, torch.nan),
)
"""Remembered for every method: 13 bytes per sample."""

"""What is remembered of each sample, as a pandas table."""

from typing import TYPE_CHECKING

from torch import Tensor

from emprune.engine.initial import DATA_KEY
from emprune.stats import SampleStats
from emprune.table import as_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["to_frame"]


def to_frame(
    stats: SampleStats, *, visits: Tensor, scores: Tensor | None, kept: Tensor | None, data_key: str | None
) -> "pd.DataFrame":
    """Return a table with a row a sample.

    Args:
        stats: The columns.
        visits: (N,) int32, pending ones included.
        scores: (N,) float32; None for a method that does not score.
        kept: (N,) bool; None before the first epoch.
        data_key: Of the data, for the frame's `attrs`; None if they have none.

    Raises:
        ImportError: If pandas is not installed.
    """
    columns = {**stats.by_name, "visits": visits}
    if scores is not None:
        columns["score"] = scores
    if kept is not None:
        columns["kept"] = kept
    frame = as_frame(columns)
    if data_key is not None:
        frame.attrs[DATA_KEY] = data_key
    return frame

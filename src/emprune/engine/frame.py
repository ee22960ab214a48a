"""What is remembered of each sample, as a pandas table."""

from typing import TYPE_CHECKING

from torch import Tensor

from emprune.engine.initial import DATA_KEY
from emprune.stats import SampleStats

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
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("to_frame() needs the package 'pandas': pip install pandas", name="pandas") from error
    columns = {column.name: stats[column.name].numpy().copy() for column in stats.columns}
    columns["visits"] = visits.numpy()
    if scores is not None:
        columns["score"] = scores.numpy()
    if kept is not None:
        columns["kept"] = kept.numpy().copy()
    frame = pd.DataFrame(columns).rename_axis("position")
    if data_key is not None:
        frame.attrs[DATA_KEY] = data_key
    return frame

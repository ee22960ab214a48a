"""Columns of samples as a pandas table. pandas is imported when one is asked for."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_frame"]


def as_frame(columns: Mapping[str, Tensor], position: Tensor | None = None) -> "pd.DataFrame":
    """Return a table with a row a sample.

    Args:
        columns: (M,) each, by name; they are copied.
        position: (M,) int64, the samples' positions in the dataset; None where these are all of them, in order.

    Raises:
        ImportError: If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("to_frame() needs the package 'pandas': pip install pandas", name="pandas") from error
    frame = pd.DataFrame(
        {name: values.numpy().copy() for name, values in columns.items()},
        index=None if position is None else position.numpy().copy(),
    )
    return frame.rename_axis("position")

"""Tables as values: heads and cells of text, which a terminal, a page and a file show, each in its own way."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from emprune_lab.comparison.rows import Row, compared_by
from emprune_lab.comparison.statistics import Estimate

__all__ = ["NOTHING", "Table", "comparison_table", "long_duration"]

NOTHING = "–"
"""In a cell for which there is no number."""


@dataclass(frozen=True)
class Table:
    """Numbers as text.

    Args:
        heads: The heads of its columns. The first column names the rows.
        rows: The cells of each.
        title: What it shows.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    @classmethod
    def of(cls, formats: Mapping[str, str], rows: Sequence[Sequence[Any]], *, title: str) -> Self:
        """Return a table of values.

        Args:
            formats: Of each column its head, and how its values are written, such as `.3f`.
            rows: Names, numbers and estimates; None where there is none.
            title: What it shows.

        Example:
            >>> Table.of(
            ...     {"method": "", "loss": "+.2f"}, [["emp", Estimate(0.5, 0.1, 3)], ["full", None]], title=""
            ... ).rows
            [['emp', '+0.50 ± 0.10'], ['full', '–']]
        """
        specs = list(formats.values())
        text = [
            [NOTHING if value is None else format(value, spec) for value, spec in zip(row, specs, strict=True)]
            for row in rows
        ]
        return cls(list(formats), text, title)

    def markdown(self) -> str:
        """Return it as Markdown."""
        lines = [self.heads, ["---"] + ["---:"] * (len(self.heads) - 1), *self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def comparison_table(rows: Sequence[Row], *, margin: float | None = None, title: str = "") -> Table:
    """Return the rows of a comparison as text."""
    return Table(_heads(rows, margin), [_cells(row, rows, margin) for row in rows], title)


def long_duration(seconds: float) -> str:
    """Return what is known only about: hours, minutes or seconds."""
    if seconds >= 3600:
        return f"{seconds / 3600:.2f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def _heads(rows: Sequence[Row], margin: float | None) -> list[str]:
    full = ["− full"] if _has_full(rows) else []
    inferior = [] if margin is None else ["non-inferior"]
    time = "time / full" if _is_timed(rows) else "seconds"
    return ["method", compared_by(rows).heading, "difference", "p", *inferior, *full, "visits", "steps", time, "seeds"]


def _cells(row: Row, rows: Sequence[Row], margin: float | None) -> list[str]:
    gain, has_full, digits = row.gain, _has_full(rows), row.metric.digits
    inferior = "–"
    if gain is not None and margin is not None and not math.isnan(gain.half_width):
        inferior = "yes" if gain.is_above(-margin) else "no"
    return [
        row.method,
        format(row.score, f".{digits}f"),
        "–" if row.difference is None else _difference(row.difference, digits),
        "–" if math.isnan(row.p_holm) else f"{row.p_holm:.3f}" if row.p_holm >= 0.001 else "<0.001",
        *([] if margin is None else [inferior]),
        *(["–" if row.to_full is None else _difference(row.to_full, digits)] if has_full else []),
        f"{row.visits_fraction:.1%}",
        f"{row.optimizer_steps:,.0f}",
        f"{row.relative_time:.2f}" if row.relative_time is not None and _is_timed(rows) else f"{row.train_seconds:.1f}",
        str(row.score.num_seeds),
    ]


def _has_full(rows: Sequence[Row]) -> bool:
    return all(row.method == "full" or row.to_full is not None for row in rows)


def _is_timed(rows: Sequence[Row]) -> bool:
    """Whether the time of every row compares with that of `full`."""
    return all(row.relative_time is not None for row in rows)


def _difference(estimate: Estimate, digits: int) -> str:
    return f"{estimate:+.{digits}f}{' *' if estimate.excludes_zero else ''}"

"""Tables of text for a terminal and a page; estimates as their cells, as plain values, as differences to a baseline."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rich.table
from rich import box

from emprune_lab.comparison.statistics import Estimate, paired_difference

__all__ = ["INTERVALS", "Table", "cell", "number", "paired", "paired_remark", "plain"]

INTERVALS = "Means over the runs ± 95 % intervals (Student t)"


@dataclass(frozen=True)
class Table:
    """Numbers as text; rich prints it as it is.

    Args:
        title: What it shows.
        heads: Of its columns, of which the first names the rows.
        rows: The cells of each.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __rich__(self) -> rich.table.Table:
        """Return it for a terminal: the first column folds, the others are numbers."""
        table = rich.table.Table(title=self.title, box=box.SIMPLE_HEAD, pad_edge=False)
        first, *others = self.heads
        table.add_column(first, overflow="fold")
        for head in others:
            table.add_column(head, justify="right")
        for row in self.rows:
            table.add_row(*row)
        return table


def cell(estimate: Estimate | None, *, digits: int = 4, signed: bool = True) -> str:
    """Return a mean with its interval, as text.

    Example:
        >>> cell(Estimate(0.5, 0.1, 3)), cell(Estimate(0.5, 0.1, 3), digits=2, signed=False), cell(None)
        ('+0.5000 ± 0.1000', '0.50 ± 0.10', '–')
    """
    return "–" if estimate is None else f"{estimate:{'+' if signed else ''}.{digits}f}"


def number(value: float) -> float | None:
    """Return a number as JSON has it: null for nan."""
    return None if math.isnan(value) else value


def plain(estimate: Estimate | None) -> dict[str, Any] | None:
    """Return an estimate as plain values."""
    return None if estimate is None else {"mean": estimate.mean, "half_width": number(estimate.half_width)}


def paired(values: Mapping[str, Mapping[int, float]], method: str, baseline: str) -> Estimate | None:
    """Return a method's mean difference to the baseline, paired by seed; None where there is none to it.

    Args:
        values: Of each method, one number for each seed.
        method: Whose.
        baseline: The method that differences are taken to.
    """
    if method == baseline or baseline not in values:
        return None
    return paired_difference(values[method], values[baseline])


def paired_remark(methods: Collection[str], baseline: str) -> str:
    """Return what a table's intervals are, and its differences where there are any."""
    differs = baseline in methods and len(methods) > 1
    return f"{INTERVALS}{f'; difference: to {baseline}, paired by seed' if differs else ''}."

"""Tables that fit a terminal: a title is a line, a name stays whole, a number breaks before its interval alone."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from emprune_lab.comparison import table as values

__all__ = ["APART", "OPEN", "TitledTable", "fitted"]

LEAST_NAME = 18
"""Characters that a name has in one line, before cells are broken or columns left out for it."""

APART = 2
"""Characters between columns."""

OPEN: dict[str, Any] = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "padding": (0, 1, 0, 0)}
"""How rich draws a table without a frame, with columns that far apart."""

Column = list[str]
"""A head, and the cells below it."""


class TitledTable(Table):
    """A table whose title and caption are lines of the terminal: rich's own are as wide as the table, and wrap there.

    Args:
        title: What it shows.
        **options: Of rich's Table.
    """

    def __init__(self, title: str, **options: Any) -> None:
        super().__init__(**options)
        self.above = title
        self.below: list[str] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the title, the table and the lines of the caption."""
        apart = [] if self.show_edge else [Text()]  # a blank line, in place of a frame
        yield Text(self.above, "table.title")
        yield from apart
        yield from super().__rich_console__(console, options)
        yield from apart
        for line in self.below:
            yield Text(line, "table.caption")


def fitted(shown: values.Table, *, width: int, instead: str = "widen the terminal", num_names: int = 1) -> TitledTable:
    """Return a table of names and numbers for a terminal.

    What is too wide gets heads of two lines. Then names break where an option or a word ends, and numbers before their
    intervals. Then columns are left out, the last first, and a line below says so.

    Args:
        shown: The table.
        width: Of the terminal, in characters.
        instead: Where columns are that are left out, or what to do about it.
        num_names: How many of the first columns are names. The others are numbers.
    """
    columns = [list(column) for column in zip(shown.heads, *shown.rows, strict=True)]
    if _width(columns) > width:
        columns = _each(_head_broken, columns, num_names)
    if not _fits(columns, num_names, width):
        columns = _each(_cells_broken, columns, num_names)
    while len(columns) > num_names + 1 and not _fits(columns, num_names, width):
        columns.pop()
    table = TitledTable(shown.title, **OPEN)
    wrapped = _wrapped(columns, num_names, width)
    for position, (head, *_) in enumerate(wrapped):
        is_name = position < num_names
        table.add_column(head, justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold")
    for row in list(zip(*wrapped, strict=True))[1:]:
        table.add_row(*row)
    left_out = shown.heads[len(columns) :]
    if left_out:
        table.below.append(f"Too narrow for {'; '.join(left_out)}: {instead}.")
    return table


def _widest(lines: Sequence[str]) -> int:
    return max((cell_len(line) for text in lines for line in text.split("\n")), default=0)


def _width(columns: Sequence[Column]) -> int:
    return sum(map(_widest, columns)) + APART * (len(columns) - 1)


def _fits(columns: Sequence[Column], num_names: int, width: int) -> bool:
    return _width(_wrapped(columns, num_names, width)) <= width


def _each(broken: Callable[[Column], Column], columns: Sequence[Column], num_names: int) -> list[Column]:
    return [*columns[:num_names], *map(broken, columns[num_names:])]


def _head_broken(column: Column) -> Column:
    """Return a column with its head in two lines, as alike as can be, where it is wider than the cells."""
    head, *cells = column
    places = [place.end() for place in re.finditer(r"[ -]", head[:-1])]
    if not places or cell_len(head) <= _widest(cells):
        return column
    both = [f"{head[:place].rstrip()}\n{head[place:]}" for place in places]
    return [min(reversed(both), key=lambda lines: _widest([lines])), *cells]


def _cells_broken(column: Column) -> Column:
    """Return a column with the intervals of its numbers below them."""
    head, *cells = column
    return [head, *(re.sub(r" (?=[±(\[])", "\n", cell) for cell in cells)]


def _wrapped(columns: Sequence[Column], num_names: int, width: int) -> list[Column]:
    """Return columns of which names are wrapped, as far as it is needed, after a word or a colon."""
    found = list(columns)
    for position, names in enumerate(columns[:num_names]):
        excess = _width(found) - width
        if excess > 0:
            pieces = [piece.rstrip() for name in names for piece in _pieces(name)]
            room = max(_widest(names) - excess, _widest(pieces), LEAST_NAME)
            found[position] = [_in_lines(name, room) for name in names]
    return found


def _pieces(name: str) -> list[str]:
    return re.split(r"(?<=[:\s])(?=\S)", name)


def _in_lines(name: str, room: int) -> str:
    lines = [""]
    for piece in _pieces(name):
        if lines[-1] and cell_len(lines[-1] + piece.rstrip()) > room:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)

"""A comparison for a terminal: what all rows have in common in a line below, and names that stay whole."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from emprune_lab.comparison.rows import Row
from emprune_lab.comparison.table import comparison_table
from emprune_lab.report.verdict import Answer

__all__ = ["answer_lines", "console_table", "shared_columns"]

LEAST_NAME = 18
"""Characters that a method's name has, before columns are left out for them."""

FEWEST_COLUMNS = 2
"""The method and its result."""


def console_table(
    rows: Sequence[Row], *, title: str, width: int, margin: float | None = None
) -> tuple[Table, list[str]]:
    """Return the comparison for a terminal, and the lines below it: what the table leaves out.

    Columns in which all rows are equal are a line. Where the rest does not fit, intervals go below their means, and
    then columns are left out, the last first.

    Args:
        rows: The comparison's.
        title: The table's.
        width: Of the terminal, in characters.
        margin: As `comparison_table` takes it.
    """
    shared = shared_columns(rows)
    table = comparison_table(rows, margin=margin)
    kept = [column for column, head in enumerate(table.heads) if head not in shared]
    lines = [[line[column] for column in kept] for line in (table.heads, *table.rows)]
    said = [] if not shared else [_shared_line(shared, rows)]
    names, left_out = lines[0], 0
    if _width(lines, name=None) > width:
        lines = [[line[0], *map(_broken, line[1:])] for line in lines]
    while len(lines[0]) > FEWEST_COLUMNS and _width(lines, name=LEAST_NAME) > width:
        lines, left_out = [line[:-1] for line in lines], left_out + 1
    if left_out:
        said.append(f"Too narrow for {', '.join(names[-left_out:])}: table.md has all.")
    return _table(lines, title), said


def answer_lines(answers: Sequence[Answer]) -> Table:
    """Return answers, such as what is saved, what is lost and which method, a line each where the terminal is wide."""
    lines = Table.grid(padding=(0, 2, 0, 0))
    for answer in answers:
        lines.add_row(
            Text(f"{answer.question}:", "bold"), Text.assemble((f"{answer.short}.", "bold"), f" {answer.sentences}")
        )
    return lines


def _table(lines: Sequence[Sequence[str]], title: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(lines[0][0], overflow="fold")
    for head in lines[0][1:]:
        table.add_column(head, justify="right", no_wrap=True)
    for line in lines[1:]:
        table.add_row(*line)
    return table


def shared_columns(rows: Sequence[Row]) -> dict[str, str]:
    """Return the columns in which all rows are equal, of visits and steps all but `full`, and what stands in them.

    Methods that are pruned at one cost are: their visits and steps are planned.
    """
    table = comparison_table(rows)
    pruned = [line for line in table.rows if line[0] != "full"] or table.rows
    found = {}
    for head in ("visits", "steps", "seeds"):
        column = table.heads.index(head)
        compared = table.rows if head == "seeds" else pruned
        if len({line[column] for line in compared}) == 1:
            found[head] = compared[0][column]
    return found


def _shared_line(shared: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Say what the columns in which all rows are equal have in them, and what `full` has."""
    said = [
        f"{cell} {'of the ' if head == 'visits' else ''}{head.removesuffix('s') if cell == '1' else head}"
        for head, cell in shared.items()
    ]
    full = next((row for row in rows if row.method == "full"), None)
    own = {} if full is None else {"visits": f"{full.visits_fraction:.1%}", "steps": f"{full.optimizer_steps:,.0f}"}
    unlike = [f"{own[head]} {head}" for head in own if head in shared and own[head] != shared[head]]
    exception = f"; full: {', '.join(unlike)}" if unlike else ""
    return f"Each row: {', '.join(said)}{exception}."


def _width(lines: Sequence[Sequence[str]], *, name: int | None) -> int:
    """How many characters a table of these lines takes, its columns two apart, and names cut after `name` of them."""
    columns = [[max(map(len, line[column].split("\n"))) for line in lines] for column in range(len(lines[0]))]
    first, *others = [max(column) + 2 for column in columns]
    return (first if name is None else min(first, name + 2)) + sum(others)


def _broken(cell: str) -> str:
    """Return a cell in two lines, where it has an interval or a head of two words."""
    return cell.replace(" ± ", "\n± ").replace(" (", "\n(").replace(" / ", " /\n").replace("non-", "non-\n")

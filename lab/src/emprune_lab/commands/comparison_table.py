"""A comparison for a terminal: what all rows have in common in a line below, and names that stay whole."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from emprune_lab.commands.consoles import out, prose_width
from emprune_lab.commands.fitting import TitledTable, fitted
from emprune_lab.comparison import table as values
from emprune_lab.comparison.curves import curves_of
from emprune_lab.comparison.queue import Comparison
from emprune_lab.comparison.rows import Row
from emprune_lab.comparison.table import comparison_table
from emprune_lab.report.enough import enough
from emprune_lab.report.verdict import Answer, Verdict, verdict_of

__all__ = ["answer_lines", "console_table", "print_comparison", "print_verdict", "shared_columns"]


def console_table(
    rows: Sequence[Row], *, title: str, width: int, margin: float | None = None
) -> tuple[TitledTable, list[str]]:
    """Return the comparison for a terminal, and the line below it of the columns in which all rows are equal.

    Args:
        rows: The comparison's.
        title: The table's.
        width: Of the terminal, in characters.
        margin: As `comparison_table` takes it.
    """
    shared = shared_columns(rows)
    table = comparison_table(rows, margin=margin)
    kept = [column for column, head in enumerate(table.heads) if head not in shared]
    heads, *lines = [[line[column] for column in kept] for line in (table.heads, *table.rows)]
    shown = fitted(values.Table(heads, lines, title), width=width, instead="table.md has all")
    return shown, [] if not shared else [_shared_line(shared, rows)]


def print_comparison(result: Comparison, where: Path) -> None:
    """Print a table for each combination of the varied settings, and once, below the last, what is true of all."""
    experiment, remarks = result.experiment, [result.remarks(variant) for variant in result.variants]
    shared = [remark for remark in remarks[0] if all(remark in own for own in remarks)]
    for variant, own in zip(result.variants, remarks, strict=True):
        title = ", ".join(filter(None, (experiment.task, variant.title, str(where))))
        table, lines = console_table(variant.rows, title=title, width=out.width, margin=experiment.margin)
        out.print(table)
        _print_sentences(lines)
        print_verdict(verdict_of(variant.results, margin=experiment.margin))
        _print_sentences(remark for remark in own if remark not in shared)
    _print_sentences(shared)
    runs = [run for variant in result.variants for run in variant.results]
    curves = curves_of(runs, margin=experiment.margin) if experiment.varied == ["keep"] else None
    if curves is not None and (answer := enough(curves)) is not None:
        out.print(answer_lines([answer]), width=prose_width())


def print_verdict(verdict: Verdict) -> None:
    """Print the answers and, below them, what else must be known."""
    out.print(answer_lines(verdict.answers), width=prose_width())
    _print_sentences(verdict.cautions)


def answer_lines(answers: Sequence[Answer]) -> Table:
    """Return answers, such as what is saved, what is lost and which method, a line each where the terminal is wide."""
    lines = Table.grid(padding=(0, 2, 0, 0))
    for answer in answers:
        lines.add_row(
            Text(f"{answer.question}:", "bold"), Text.assemble((f"{answer.short}.", "bold"), f" {answer.sentences}")
        )
    return lines


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


def _print_sentences(lines: Iterable[str]) -> None:
    for line in lines:
        out.print(line, highlight=False, width=prose_width())

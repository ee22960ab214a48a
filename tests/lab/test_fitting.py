"""Tables in a terminal of 80 columns and less: what breaks, where, and in which order."""

import io

import pytest
from emprune_lab.commands.comparison_table import console_table
from emprune_lab.commands.consoles import literal_console
from emprune_lab.commands.fitting import TitledTable, fitted
from emprune_lab.commands.overview import methods_table
from emprune_lab.commands.tables import queue_table
from emprune_lab.comparison.rows import summarise
from emprune_lab.comparison.table import Table
from emprune_lab.results.record import read_record

from tests.lab.reports import METHODS, result_of
from tests.lab.runs import small_settings

LONG = "emp:beta=3.5:memory=view-alignment:pool=none"
FRONTIER = Table(
    ["method", "keep", "accuracy %", "difference", "worth keep"],
    [
        ["random-permutation", "0.1", "82.07 ± 13.20", "–", "–"],
        ["greedy", "0.1", "77.87 ± 11.93", "+0.00 (all equal)", "≤ 0.1 [≤ 0.1, ≤ 0.1]"],
        ["full", "1", "84.43 ± 10.94", "–", "–"],
    ],
    "what each keep reaches",
)
TASKS = Table(
    ["task", "visits a sample", "shorter"],
    [["CIFAR-100, all 50,000, ResNet-18 on a GPU", "45 of 150", "-1.9"]],
    "elsewhere: points above full training, at the nearest cost that was measured",
)


def printed(table: TitledTable, width: int) -> list[str]:
    text = io.StringIO()
    literal_console(width=width, file=text).print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 60, 70, 80, 120])
def test_a_name_is_in_one_line_and_a_number_breaks_before_its_interval_alone(width: int) -> None:
    lines = printed(fitted(FRONTIER, width=width, instead="frontier.html has all"), width)
    assert max(map(len, lines)) <= width
    assert sum(line.startswith("random-permutation ") for line in lines) == 1
    left_out = next((line for line in lines if line.startswith("Too narrow for ")), "")
    for name, *parts in (
        ("accuracy %", "82.07", "± 13.20"),
        ("difference", "+0.00", "(all equal)"),
        ("worth keep", "≤ 0.1", "[≤ 0.1, ≤ 0.1]"),
    ):
        shown = all(any(part in line for line in lines) for part in parts)
        assert shown != (name in left_out)


def test_columns_that_are_left_out_are_named_with_where_they_are() -> None:
    lines = printed(fitted(FRONTIER, width=50, instead="frontier.html has all"), 50)
    assert lines[-1] == "Too narrow for worth keep: frontier.html has all."
    assert "Too narrow" not in "".join(printed(fitted(FRONTIER, width=70), 70))


def test_a_long_name_breaks_where_an_option_ends() -> None:
    lines = printed(queue_table([("keep 0.5", LONG, 3, 0, 100_000)], title="digits", width=60), 60)
    assert max(map(len, lines)) <= 60
    assert [line.split()[-1] for line in lines if "memory" in line or "pool" in line] == [
        "memory=view-alignment:",
        "pool=none",
    ]
    assert any("emp:beta=3.5: " in line for line in lines)


def test_text_in_the_first_column_breaks_between_words() -> None:
    lines = printed(fitted(TASKS, width=50), 50)
    assert any(line.startswith("CIFAR-100, all 50,000,") for line in lines)
    assert "ResNet-18 on a GPU" in lines
    assert any("45 of 150" in line for line in lines)


def test_of_the_default_comparison_only_a_head_breaks_in_80_columns() -> None:
    results = [read_record(result_of(small_settings(m, seed=seed))) for m in METHODS for seed in range(3)]
    table, _ = console_table(summarise(results, baseline="random-permutation"), title="digits", width=80)
    lines = printed(table, 80)
    assert max(map(len, lines)) <= 80
    assert [sum(line.startswith(method) for line in lines) for method in METHODS] == [1, 1, 1]
    assert next(line for line in lines if line.startswith("emp:pool=2")).count("±") == 3
    heads = lines[2:4]
    assert heads[0].split() == ["time", "/"]
    assert heads[1].split() == ["method", "accuracy", "%", "difference", "p", "−", "full", "full"]


@pytest.mark.parametrize("table", [fitted(TASKS, width=80), queue_table([], title="a " * 35 + "title", width=80)])
def test_a_title_that_is_wider_than_its_table_is_one_line(table: TitledTable) -> None:
    assert printed(table, 80)[0] == table.above
    assert len(table.above) > 70


def test_a_caption_that_is_wider_than_its_table_is_one_line() -> None:
    table = methods_table()
    assert printed(table, 200)[-1] == table.below[-1]

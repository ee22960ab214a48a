"""What is printed is what was meant, whatever it looks like to rich."""

from io import StringIO
from pathlib import Path

import pytest
from emprune_lab.commands import consoles
from emprune_lab.commands.consoles import literal_console
from emprune_lab.commands.progress import live_progress
from emprune_lab.tasks import TASKS
from rich.table import Table

from emprune.methods import method_names
from tests.lab.reports import call, write_comparison

STRANGE = ["v[/2]", "[draft]", ":fire:", "[bold"]
SMALL = ["--epochs", "2", "--train-size", "80", "--batch-size", "16", "--precision", "fp32", "--device", "cpu"]


@pytest.mark.parametrize("name", STRANGE)
def test_brackets_and_colons_are_printed_as_they_are(name: str) -> None:
    text = StringIO()
    console = literal_console(file=text, width=80)
    table = Table(title=f"title {name}")
    table.add_column(f"head {name}")
    table.add_row(f"cell {name}")
    console.print(f"line {name}", style="yellow")
    console.print(table)
    with live_progress(console) as progress:
        progress.add_task(f"bar {name}", total=1, detail=f"detail {name}")
    for part in ("title", "head", "cell", "line", "bar", "detail"):
        assert f"{part} {name}" in text.getvalue()


@pytest.mark.parametrize("name", STRANGE[:3])
def test_a_folder_of_any_name_will_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = ["run", "digits", "--method", "random", *SMALL, "--out", name]
    comparison = ["compare", "digits", "--methods", "random", "--seeds", 1, *SMALL, "--out", f"all/{name}"]
    for command, said in (
        (run, "accuracy on test"),
        (run, f"{name} holds this run, finished"),
        ([*comparison, "--dry-run"], f"digits, all/{name}"),
        ([*comparison, "--from", name], f"digits, all/{name}"),
        (["report", name], f"{name}/report.html"),
    ):
        code, stdout, stderr = call(*command)
        assert code == 0, stderr
        assert said in stdout + stderr
    assert f"all/{name}/report.html" in call(*comparison)[1]


@pytest.mark.parametrize("command", [["tasks"], ["methods"], ["compare", "--help"], ["analyze", "visits", "--help"]])
def test_names_that_are_to_be_typed_are_whole_in_80_columns(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consoles.out, "_width", 80)
    monkeypatch.setenv("COLUMNS", "80")
    code, shown, _ = call(*command)
    assert code == 0
    assert "…" not in shown
    names = {"tasks": TASKS, "methods": method_names()}.get(command[0], ["random-permutation"])
    assert [name for name in names if name not in shown] == []
    assert max(map(len, shown.splitlines())) <= 80


def test_what_is_meant_to_look_different_shows_no_markup() -> None:
    shown = call("tasks")[1]
    assert "--recipe published" in shown
    assert "[dim]" not in shown


def test_sentences_that_go_to_a_file_fit_80_columns(tmp_path: Path) -> None:
    write_comparison(tmp_path)
    code, shown, stderr = call("report", tmp_path)
    assert code == 0, stderr
    lines = shown.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("Save:"))
    answers = lines[first:-1]  # the last is the page's path
    assert any(line.startswith("Which:") for line in answers)
    assert 60 < max(map(len, answers)) <= 80

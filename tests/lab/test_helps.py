"""The rows of "Does it help?": README, the site and `emprune estimate` say what the command finds."""

from pathlib import Path
from typing import Any

import pytest
from emprune_lab.comparison.table import Table
from emprune_lab.report.elsewhere import elsewhere_table, measured
from emprune_lab.run import Run
from emprune_lab.tasks import get_task

from tests.lab.reports import call_script
from tests.lab.runs import settings_for

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["README.md", "docs/evidence/index.md"])
def test_a_page_has_the_table_that_the_command_prints(name: str) -> None:
    outcome = call_script(ROOT / "experiments/study/helps.py")
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output.strip() in (ROOT / name).read_text(encoding="utf-8")


def test_an_estimate_knows_what_the_command_finds(tmp_path: Path) -> None:
    written = tmp_path / "elsewhere.json"
    assert call_script(ROOT / "experiments/study/helps.py", "--write", written).exit_code == 0
    assert written.read_text() == (ROOT / "lab/src/emprune_lab/report/elsewhere.json").read_text()


def table_of(task: str, method: str = "emp", **settings: Any) -> Table | None:
    return elsewhere_table(Run.resolve(settings_for(task, method, device="cpu", **settings), get_task(task)))


@pytest.mark.parametrize(("keep", "visits"), [(0.5, "12 of 40"), (0.3, "12 of 40"), (0.05, "4 of 40")])
def test_a_forecast_shows_each_task_at_the_cost_nearest_to_its_own(keep: float, visits: str) -> None:
    shown = table_of("digits", keep=keep, batch_size=16)
    assert shown is not None
    first, *others = shown.rows
    assert first[:2] == ["CIFAR-10, 20,000 images, small ResNet", visits]
    assert not any("MiniLM" in row[0] for row in others)


def test_a_loss_is_what_lies_between_the_means_and_a_gain_is_paired() -> None:
    shown = table_of("digits", keep=0.3, batch_size=16)
    assert shown is not None
    (row,) = [row for row in measured() if row.task == shown.rows[0][0] and row.keep == 0.3]
    assert shown.rows[0][2:] == [
        f"{row.shorter - row.full:+.1f}",
        f"{row.emp - row.full:+.1f}",
        f"{row.gain:+.1f} ± {row.gain_half_width:.1f}",
    ]


@pytest.mark.parametrize(("task", "method"), [("digits", "full"), ("simclr-digits", "emp")])
def test_where_nothing_like_it_was_measured_nothing_is_shown(task: str, method: str) -> None:
    assert table_of(task, method) is None

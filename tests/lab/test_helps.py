"""The four rows of "Does it help?": README and the site print what the command prints."""

from pathlib import Path

import pytest

from tests.lab.reports import call_script

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["README.md", "docs/evidence/index.md"])
def test_a_page_has_the_table_that_the_command_prints(name: str) -> None:
    outcome = call_script(ROOT / "experiments/study/helps.py")
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output.strip() in (ROOT / name).read_text(encoding="utf-8")

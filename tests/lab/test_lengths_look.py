"""The table of accuracy with and without grouping by length is what the script makes of the committed runs."""

import importlib.util
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "experiments/lengths"


def test_the_table_is_made_of_the_committed_runs() -> None:
    spec = importlib.util.spec_from_file_location("lengths_look", FOLDER / "lengths.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    lines = list(script.table(sorted(FOLDER.glob("*/results.json"))))
    assert "\n".join(lines) + "\n" == (FOLDER / "table.md").read_text(encoding="utf-8")
    assert len(lines) > 2

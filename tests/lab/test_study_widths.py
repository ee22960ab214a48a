"""The widths that A's runs are replayed with, from logs whose pools are known."""

import json
from pathlib import Path

from tests.lab.reports import call_script

SCRIPT = Path(__file__).parents[2] / "experiments/study/widths.py"


def write_log(folder: Path, *, num_epochs: int, start: float) -> None:
    """Epochs of equal size, whose pool grows by 1 over the run."""
    folder.mkdir(parents=True)
    records = [
        {"visits": 100 * (epoch + 1), "summary": {"details": {"pool": start + (epoch + 1) / num_epochs}}}
        for epoch in range(num_epochs)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_widths_are_means_over_the_seeds_at_nine_points_of_the_visits(tmp_path: Path) -> None:
    write_log(tmp_path / "emp-adaptive" / "seed-0", num_epochs=8, start=1.0)
    write_log(tmp_path / "emp-adaptive" / "seed-1", num_epochs=16, start=2.0)
    outcome = call_script(SCRIPT, tmp_path / "emp-adaptive")
    assert outcome.exit_code == 0, outcome.output
    points = "1.6/1.6/1.8/1.9/2.0/2.1/2.2/2.4/2.5"  # what came before the first epoch's end is as at its end
    assert outcome.output.split() == [f"replay={points}", "2", "seeds", "of", "emp-adaptive"]

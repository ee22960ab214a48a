"""`emp:pool=gap` on texts: the probe is scored for this method alone."""

from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from emprune_lab.errors import StoppedError

from tests.lab.runs import log
from tests.lab.texts import assert_equal_text_runs, run_text, text_settings


@pytest.mark.parametrize("stop_after", [5, 12])
def test_the_gap_is_that_of_the_scored_parts_and_the_run_resumes(place: Path, tmp_path: Path, stop_after: int) -> None:
    settings = text_settings(place, "emp:pool=gap", validation=0.25)
    whole = run_text(settings, tmp_path / "whole", place)
    records = log(tmp_path / "whole")
    assert whole.pruner.gap == records[-1]["validation_loss"] - records[-1]["probe_loss"]
    with pytest.raises(StoppedError):
        run_text(settings, tmp_path / "stopped", place, stop_after=stop_after)
    resumed = run_text(settings, tmp_path / "stopped", place)
    assert_equal_text_runs(tmp_path / "whole", tmp_path / "stopped", (whole, resumed))


def test_other_methods_score_no_probe(place: Path, tmp_path: Path) -> None:
    run_text(text_settings(place, "emp:pool=2", validation=0.25), tmp_path, place)
    assert not any("probe_loss" in record for record in log(tmp_path))


def test_a_run_that_starts_from_an_earlier_one_measures_the_gap_before_its_first_epoch(
    place: Path, tmp_path: Path
) -> None:
    run_text(text_settings(place, "emp:pool=gap", validation=0.25), tmp_path / "earlier", place)
    settings = text_settings(place, "emp:pool=gap", validation=0.25, initial=str(tmp_path / "earlier"))
    whole = run_text(settings, tmp_path / "whole", place)
    assert log(tmp_path / "whole")[0]["summary"]["never_seen"] == 0
    with pytest.raises(StoppedError):
        run_text(settings, tmp_path / "stopped", place, stop_after=5)
    resumed = run_text(settings, tmp_path / "stopped", place)
    assert_equal_text_runs(tmp_path / "whole", tmp_path / "stopped", (whole, resumed))

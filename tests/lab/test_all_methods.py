import json
from pathlib import Path

import psutil

from emprune.methods import method_names
from tests.lab.reports import call

FROM_CODE = {"static-subset", "reducible-loss"}
"""They need values that no command line holds."""


def test_all_methods_are_compared_by_one_word(tmp_path: Path) -> None:
    """In under a minute of one core, in runs that are long enough for scores to choose."""
    size = ["--epochs", 6, "--train-size", 80, "--batch-size", 16, "--device", "cpu", "--precision", "fp32"]
    began = seconds_of_the_processor()
    code, _, _ = call("compare", "digits", "--methods", "all", "--seeds", 1, *size, "--out", tmp_path)
    assert code == 0
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert {run["settings"]["method"]["name"] for run in runs} == set(method_names()) - FROM_CODE
    assert len({run["optimizer_steps"] for run in runs if run["settings"]["method"]["name"] != "full"}) == 1
    assert seconds_of_the_processor() - began < 60


def seconds_of_the_processor() -> float:
    """Return what this process and all that it started have computed, those that have ended too."""
    here = psutil.Process()
    return float(sum(sum(process.cpu_times()[:4]) for process in (here, *here.children(recursive=True))))

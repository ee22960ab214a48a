"""What version 0.1 wrote is read: real results of the study, run folders, checkpoints."""

import json
from pathlib import Path
from typing import Any

import pytest
from emprune_lab.earlier import settings_of
from emprune_lab.report.records import ReportedRun, find_runs
from emprune_lab.report.sections import divide_runs
from emprune_lab.results.record import read_results
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import Settings

from emprune.errors import ConfigError
from tests.lab.reports import call_script, old_result_of, page_of
from tests.lab.runs import run_of, small_settings

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
STUDY = EXPERIMENTS / "study"
FILES = [file for file in sorted(EXPERIMENTS.rglob("results.json")) if '"config"' in file.read_text(encoding="utf-8")]
"""Those of version 0.1."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_every_committed_result_has_the_epochs_that_it_was_made_with(path: Path) -> None:
    stored = json.loads(path.read_text())["runs"]
    for old, run in zip(stored, read_results(path).runs, strict=True):
        settings, now = old["config"], ReportedRun(run).config
        assert not {"tail_fraction", "warmup_fraction"} & now.keys()
        assert now["warmup_epochs"] == 0
        if settings["tail_fraction"] is None:
            assert now["tail_epochs"] is None
        else:
            exact = settings["tail_fraction"] * settings["keep"] * settings["epochs"]
            assert abs(now["tail_epochs"] - exact) <= 0.5
            assert old["visits"] == pytest.approx(settings["keep"] * settings["epochs"] * old["num_train"], rel=0.02)


@pytest.mark.parametrize(
    ("name", "tails"),
    [("fashion-mnist-10k", {0.3: {0, 5}, 0.1: {0, 2}}), ("study/e1-cifar10", {0.3: {0, 8}})],
)
def test_the_tails_are_those_of_before(name: str, tails: dict[float, set[int]]) -> None:
    found: dict[float, set[int]] = {}
    for run in find_runs([EXPERIMENTS / name / "results.json"]).runs:
        if run.method != "full":
            found.setdefault(run.config["keep"], set()).add(run.config["tail_epochs"])
    assert found == tails


def test_a_report_of_them_has_a_group_for_each_cost(tmp_path: Path) -> None:
    place = EXPERIMENTS / "fashion-mnist-10k/results.json"
    (section,) = divide_runs(find_runs([place]).runs)
    assert sorted(group.title for group in section.groups) == [
        "keep 0.1, tail epochs 0", "keep 0.1, tail epochs 2", "keep 0.3, tail epochs 0", "keep 0.3, tail epochs 5",
    ]  # fmt: skip
    assert "keep 0.1, tail epochs 2" in page_of(place, out=tmp_path)


def test_the_study_s_scripts_read_them() -> None:
    outcome = call_script(STUDY / "contrasts.py", "e1", STUDY / "e1-cifar10/results.json")
    assert outcome.exit_code == 0, outcome.output
    assert "tail_fraction 0.25" in outcome.output
    pair = ["emp:pool=2 tail_fraction=0.25", "emp:pool=2 tail_fraction=0"]
    outcome = call_script(STUDY / "pair.py", *pair, STUDY / "e1-cifar10/results.json")
    assert outcome.exit_code == 0, outcome.output
    assert "outcome" in outcome.output


def as_before(settings: Settings, tail_fraction: float | None) -> dict[str, Any]:
    return dict(old_result_of(settings, tail_fraction=tail_fraction)["config"])


@pytest.mark.parametrize(
    ("tail_fraction", "tail_epochs"), [(None, None), (0.0, 0), (0.25, 3), (0.3, 4), (0.05, 1), (0.04, 0)]
)
def test_a_run_folder_and_a_checkpoint_of_before_are_of_the_same_run(
    tail_fraction: float | None, tail_epochs: int | None, tmp_path: Path
) -> None:
    settings = small_settings("emp", keep=0.3, epochs=40, tail_epochs=tail_epochs)
    old = as_before(settings, tail_fraction)
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert RunFolder(tmp_path).settings() == settings
    RunFolder(tmp_path).checkpoints.write(1, lambda checkpoint: None, lasting=True)
    (tmp_path / "config.json").write_text(json.dumps(settings.model_dump()))
    newest = RunFolder(tmp_path).checkpoints.newest(lambda checkpoint: checkpoint, say=print)
    assert newest == tmp_path / "checkpoints" / "checkpoint-1"
    assert json.loads((newest / "seal.json").read_text())["settings"] == old
    run_of(settings).new_pruner()


@pytest.mark.parametrize(
    "changes",
    [{"tail_fraction": "x"}, {"tail_fraction": True}, {"tail_fraction": float("nan")}, {"keep": None}],
    ids=str,
)
def test_what_is_no_run_of_any_version_is_refused_by_name(changes: dict[str, Any], tmp_path: Path) -> None:
    settings = {**as_before(small_settings("emp", keep=0.3, epochs=40), 0.25), **changes}
    (tmp_path / "results.json").write_text(
        json.dumps({"runs": [{**old_result_of(small_settings()), "config": settings}]})
    )
    name = next(iter(changes)).replace("fraction", "epochs")
    with pytest.raises(ConfigError, match=f"`{name}` must be .*got"):
        read_results(tmp_path / "results.json")
    with pytest.raises(ConfigError, match=f"`{name}` must be .*got"):
        settings_of(settings)

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from emprune.errors import ConfigError
from emprune.lab.compare import compare, grid
from emprune.lab.config import RunConfig
from emprune.lab.errors import RunError, StoppedError
from tests.lab.runs import run_small, small_config

METHODS = ["full", "random-permutation", "emp:pool=2"]
SMALL = {"epochs": 3, "train_size": 80, "batch_size": 16, "device": "cpu", "precision": "fp32"}


def small_grid(**settings: Any) -> list[RunConfig]:
    values: dict[str, Any] = {"keep": 0.5, "tail_fraction": None, **SMALL, **settings}
    return grid("digits", METHODS, num_seeds=2, **values)


def test_the_grid_is_seed_by_seed_at_equal_cost() -> None:
    configs = small_grid(keep=0.4, tail_fraction=0.3)
    assert [(config.method, config.seed) for config in configs] == [(m, s) for s in (0, 1) for m in METHODS]
    assert {(config.keep, config.tail_fraction) for config in configs if config.method != "full"} == {(0.4, 0.3)}
    assert {(config.keep, config.tail_fraction) for config in configs if config.method == "full"} == {(1.0, None)}


def test_infobatch_has_its_own_tail_only_where_none_is_given_and_no_cost_in_its_paper_form() -> None:
    def cost(method: str, tail: float | None) -> tuple[float | None, float | None]:
        (config,) = grid("digits", [method], num_seeds=1, keep=0.3, tail_fraction=tail)
        return config.keep, config.tail_fraction

    assert cost("infobatch", None) == (0.3, None)
    assert cost("infobatch", 0.2) == (0.3, 0.2)
    assert cost("infobatch:prune_ratio=0.5", 0.2) == (None, None)


def test_an_empty_or_doubled_grid_is_refused() -> None:
    for methods, seeds in ([], 1), (["emp"], 0):
        with pytest.raises(ConfigError, match="needs a seed and a method"):
            grid("digits", methods, num_seeds=seeds, keep=0.3, tail_fraction=None)
    with pytest.raises(ConfigError, match="listed twice: got emp, emp"):
        grid("digits", ["emp", "emp:beta=3"], num_seeds=1, keep=0.3, tail_fraction=None)


def test_a_stopped_comparison_goes_on_where_it_was_and_repeats_nothing(tmp_path: Path) -> None:
    configs = small_grid()
    seen: list[int] = []
    with pytest.raises(StoppedError):
        compare(
            configs, tmp_path, baseline="random-permutation", num_jobs=1,
            watch=lambda runs, visits: seen.append(runs), stop=lambda: bool(seen) and seen[-1] >= 1,
        )  # fmt: skip
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert 1 <= len(finished) < len(configs)
    assert not (tmp_path / "results.json").exists()

    comparison = compare(configs, tmp_path, baseline="random-permutation", num_jobs=1)
    assert all(path.stat().st_mtime_ns == written for path, written in finished.items())
    assert len(list(tmp_path.rglob("result.json"))) == len(configs)
    document = json.loads((tmp_path / "results.json").read_text())
    assert [run["config"] for run in document["runs"]] == [config.to_json() for config in configs]
    assert [row.method for row in comparison.rows] == METHODS
    assert "| emp:pool=2 |" in (tmp_path / "table.md").read_text()
    assert_same_as_alone(configs[-1], tmp_path / "alone", comparison.results[-1])

    again = compare(configs, tmp_path, baseline="full", num_jobs=1)  # all there: no process is started
    assert again.results == comparison.results
    assert again.rows[0].difference is None


def assert_same_as_alone(config: RunConfig, path: Path, result: dict[str, Any]) -> None:
    run_small(config, path)
    alone = json.loads((path / "result.json").read_text())
    for name in ("accuracy", "loss", "visits", "config"):
        assert result[name] == alone[name]


def test_a_dead_worker_is_an_error_that_says_how_to_go_on(tmp_path: Path) -> None:
    def kill_one(runs: int, visits: int) -> None:
        children = multiprocessing.active_children()
        if children:
            children[0].kill()

    with pytest.raises(RunError, match=r"6 of 6 runs did not finish\. A worker process died .*the same command again"):
        compare(small_grid(), tmp_path, baseline="full", num_jobs=1, watch=kill_one)


def test_nothing_is_started_when_one_run_is_impossible(tmp_path: Path) -> None:
    configs = [*small_grid(), small_config("emp", tail_fraction=0.001)]
    with pytest.raises(ConfigError, match="tail_fraction"):
        compare(configs, tmp_path, baseline="full", num_jobs=1)
    assert not list(tmp_path.rglob("log.jsonl"))

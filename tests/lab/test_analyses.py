import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from emprune.errors import ConfigError
from emprune.lab.analyses import ANALYSES, get_analysis
from emprune.lab.analyses.alignment_gap import NUM_PAIRS, alignment
from emprune.lab.analyses.findings import Findings, find
from emprune.lab.analyses.gaps import estimate
from emprune.lab.app import app
from emprune.lab.compare import Queue, make_queue
from emprune.lab.config import RunConfig
from emprune.lab.errors import RunError
from emprune.lab.session import Session
from emprune.lab.tasks import drawn
from emprune.lab.workers import load_splits
from tests.lab.runs import run_small

SMALL: dict[str, Any] = {"epochs": 2, "train_size": 80, "batch_size": 16, "device": "cpu", "precision": "fp32"}


def runs_of(name: str, task: str, out: Path, *, methods: list[str], num_runs: int = 3, **settings: Any) -> Queue:
    """Make the runs in this process: a new one costs seconds."""
    queue = make_queue(experiment_of(name, task, methods=methods, num_runs=num_runs, **settings), out)
    for job in queue.missing:
        run_small(job.config, job.folder)
    return queue


def experiment_of(name: str, task: str, *, methods: list[str], num_runs: int = 3, **settings: Any) -> Any:
    values = {"subset_fraction": 0.7, **SMALL, **settings}
    return get_analysis(name).experiment(
        task, methods=methods, num_runs=num_runs, baseline="random-permutation", settings=values
    )


def found(name: str, task: str, out: Path, **options: Any) -> Findings:
    queue = runs_of(name, task, out, **options)
    return find(get_analysis(name), experiment_of(name, task, **options), queue, data_dir=None)


def test_the_gaps_are_what_a_slow_twin_finds() -> None:
    random = np.random.default_rng(0)
    values, seen = random.normal(size=(6, 40)), random.random((6, 40)) < 0.7
    seen[:, 3], seen[:, 4] = True, False
    gaps = estimate(values, seen)
    for sample in range(40):
        groups = [[values[run, sample] for run in range(6) if seen[run, sample] == having] for having in (True, False)]
        if all(groups):
            assert gaps.per_sample[sample] == pytest.approx(np.mean(groups[0]) - np.mean(groups[1]))
        else:
            assert np.isnan(gaps.per_sample[sample])
    for run in range(6):
        assert gaps.per_run[run] == pytest.approx(values[run][seen[run]].mean() - values[run][~seen[run]].mean())
    assert {3, 4} <= set(np.flatnonzero(np.isnan(gaps.per_sample)))
    assert len(gaps.estimated) == 40 - np.isnan(gaps.per_sample).sum()


def test_every_run_draws_its_own_subset_which_methods_share() -> None:
    one, other, again = (drawn(100, fraction=0.7, seed=seed) for seed in (0, 1, 0))
    assert len(one) == len(one.unique()) == 70
    assert one.equal(again)
    assert not one.equal(other)
    assert drawn(5, fraction=1.0, seed=3).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="`subset_fraction` leaves nothing of 3 samples"):
        drawn(3, fraction=0.1, seed=0)
    config = RunConfig.for_task("digits", "emp", subset_fraction=0.5, seed=2, **SMALL)
    whole = load_splits(config.replace(subset_fraction=1.0), None)
    splits = load_splits(config, None)
    assert splits.train.x.equal(whole.train.x[drawn(80, fraction=0.5, seed=2)])
    assert splits.test is whole.test
    assert load_splits(config.replace(method="greedy"), None).train.x.equal(splits.train.x)
    assert config.folder_name != config.replace(subset_fraction=1.0).folder_name


def test_a_run_can_leave_samples_out_that_its_seed_draws() -> None:
    whole, left = drawn(50, fraction=0.5, seed=4), drawn(50, fraction=0.5, leave_out=2, seed=4)
    assert len(left) == 23
    assert set(left.tolist()) < set(whole.tolist())
    config = RunConfig.for_task("digits", "emp", leave_out=1, **SMALL)
    everything = load_splits(config.replace(leave_out=0), None).train
    assert config.folder_name != config.replace(leave_out=0).folder_name
    missing = {int((~torch.isin(torch.arange(80), drawn(80, leave_out=1, seed=seed))).nonzero()) for seed in range(20)}
    assert len(missing) > 10
    for seed in range(3):
        train = load_splits(config.replace(seed=seed), None).train
        assert train.x.equal(everything.x[drawn(80, leave_out=1, seed=seed)])
        assert len(train) == 79
    with pytest.raises(ConfigError, match="leaves nothing of 80 samples: got subset_fraction=1.0 and leave_out=80"):
        load_splits(config.replace(leave_out=80), None)


def test_a_run_on_a_subset_costs_a_share_of_the_subset(tmp_path: Path) -> None:
    config = RunConfig.for_task("digits", "emp", keep=0.5, subset_fraction=0.5, **{**SMALL, "batch_size": 10})
    session = run_small(config, tmp_path)
    assert session.pruner.num_samples == 40
    assert int(session.pruner.visits.sum()) == 40


def test_what_is_labelled_wrong_is_memorized_most(tmp_path: Path) -> None:
    data: dict[str, Any] = {**SMALL, "train_size": 120}
    options: dict[str, Any] = {"epochs": 40, "train_size": 120, "max_lr": 0.1, "label_noise": 0.25}
    findings = found("memorization", "digits", tmp_path, methods=["full"], subset_fraction=0.6, **options)
    given, right = (
        load_splits(RunConfig.for_task("digits", "full", label_noise=noise, **data), None).train.y
        for noise in (0.25, 0)
    )
    wrong = (given != right).numpy()
    assert wrong.sum() == 30
    per_sample = findings.gaps["full"].per_sample
    assert np.nanmean(per_sample[wrong]) > np.nanmean(per_sample[~wrong]) + 0.2


@pytest.mark.parametrize(("name", "task"), [("memorization", "digits"), ("alignment-gap", "simclr-digits")])
def test_the_findings_are_written_and_a_measured_run_is_not_measured_again(
    name: str, task: str, tmp_path: Path
) -> None:
    methods = ["random-permutation", "emp"]
    first = found(name, task, tmp_path, methods=methods)
    when = {path: path.stat().st_mtime_ns for path in tmp_path.rglob(f"{name}.npy")}
    assert len(when) == 6
    again = found(name, task, tmp_path, methods=methods)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob(f"{name}.npy")} == when
    assert again.document() == first.document()

    numbers, picture = first.write(tmp_path)
    document = json.loads(numbers.read_text())
    assert document["num_runs"] == 3
    assert document["settings"]["subset_fraction"] == 0.7
    (_, emp) = document["methods"]
    assert emp == ("emp" if task == "digits" else "emp:memory=instance-entropy")
    for method in document["methods"].values():
        assert len(method["per_sample"]) == 80
        assert len(method["per_run"]) == 3
        assert all(value is None or -1 <= value <= 1 for value in method["per_sample"])
        assert list(method["quantiles"].values()) == sorted(method["quantiles"].values())
    assert document["methods"]["random-permutation"]["difference"] is None
    assert document["methods"][emp]["difference"] == pytest.approx(
        document["methods"][emp]["mean"] - document["methods"]["random-permutation"]["mean"]
    )
    page = picture.read_text()
    assert page.rstrip().endswith("</html>")
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)  # nothing is fetched
    assert emp in page


def test_the_alignment_is_the_distance_of_views_that_are_the_same_for_every_model() -> None:
    config = RunConfig.for_task("simclr-digits", "random", **SMALL)
    session = Session.build(config, load_splits(config, None))
    split = session.splits.train
    before = {name: value.clone() for name, value in session.model.state_dict().items()}
    measured = alignment(session, split)
    assert measured.equal(alignment(session, split))
    assert all(before[name].equal(value) for name, value in session.model.state_dict().items())
    assert session.model.training
    draws = torch.Generator().manual_seed(0)
    session.model.eval()
    expected = torch.zeros(80)
    for _ in range(NUM_PAIRS):
        features = [session.model.get_submodule("encoder")(v) for v in session.objective.transform(draws, split.x)]
        for sample in range(80):
            one, other = (view[sample] / view[sample].norm() for view in features)
            expected[sample] -= (one - other).norm().item() / NUM_PAIRS
    torch.testing.assert_close(measured, expected, atol=1e-5, rtol=1e-5)


def test_differences_of_alignment_are_divided_by_their_range(tmp_path: Path) -> None:
    findings = found("alignment-gap", "simclr-digits", tmp_path, methods=["random-permutation", "greedy"])
    everything = np.concatenate([gaps.estimated for gaps in findings.gaps.values()])
    assert np.ptp(everything) == pytest.approx(1)
    assert 0 < findings.divisor <= 2
    assert "difference" in findings.document()["methods"]["greedy"]


@pytest.mark.parametrize(
    ("name", "task", "settings", "message"),
    [
        ("memorization", "simclr-digits", {}, "is an analysis of classification tasks: got 'simclr-digits'"),
        ("alignment-gap", "digits", {}, "is an analysis of contrastive tasks: got 'digits'"),
        ("memorization", "movie-reviews", {}, "measures models of images, which we train ourselves"),
        ("memorization", "digits", {"subset_fraction": 1.0}, "`subset_fraction` must be below 1"),
        ("memorization", "digits", {"num_runs": 1}, "`runs` must be at least 2"),
        ("memorisation", "digits", {}, "Unknown analysis: got 'memorisation'. Did you mean 'memorization'"),
    ],
)
def test_what_cannot_be_analysed_is_refused(name: str, task: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment_of(name, task, methods=["random"], **settings)


def test_a_result_from_elsewhere_has_no_model_to_measure(tmp_path: Path) -> None:
    options: dict[str, Any] = {"methods": ["random"], "num_runs": 2}
    queue = runs_of("memorization", "digits", tmp_path, **options)
    for name in ("checkpoint.pt", "checkpoint-previous.pt"):
        (queue.jobs[0].folder / name).unlink()
    with pytest.raises(RunError, match="holds a result without its last checkpoint"):
        find(ANALYSES["memorization"], experiment_of("memorization", "digits", **options), queue, data_dir=None)


def test_the_command_goes_on_where_it_was(tmp_path: Path) -> None:
    runs_of("memorization", "digits", tmp_path, methods=["random-permutation", "greedy"], num_runs=2)
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    command = ["analyze", "memorization", "digits", *settings, "--methods", "random-permutation,greedy", "--runs", "2"]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    assert "memorization: accuracy on a sample" in result.stdout
    assert (tmp_path / "memorization.json").is_file()
    assert (tmp_path / "memorization.html").is_file()
    assert (tmp_path / "results.json").is_file()
    assert "measuring greedy, seed 1" in result.stderr
    assert CliRunner().invoke(app, ["analyze", "nothing", "digits", "--out", str(tmp_path)]).exit_code == 2

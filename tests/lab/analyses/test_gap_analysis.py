import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emprune_lab.analyses.analysis import Conclusion
from emprune_lab.analyses.memorization import NUM_PAIRS, AlignmentGap, Gaps
from emprune_lab.analyses.registry import ANALYSES
from emprune_lab.data.dividing import drawn, with_label_noise
from emprune_lab.errors import RunError
from emprune_lab.method_spec import MethodSpec

from emprune.errors import ConfigError
from tests.lab.analyses.support import SMALL, concluded, experiment_of, runs_of
from tests.lab.runs import run_small, settings_for, splits_of, training_of


def found(name: str, task: str, out: Path, *, num_runs: int = 3, **options: Any) -> Conclusion:
    return concluded(name, out, task=task, num_runs=num_runs, **options)


def test_the_gaps_are_what_a_slow_twin_finds() -> None:
    random = np.random.default_rng(0)
    values, seen = random.normal(size=(6, 40)), random.random((6, 40)) < 0.7
    seen[:, 3], seen[:, 4] = True, False
    gaps = Gaps.of(values, seen)
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
    with pytest.raises(ConfigError, match="`subset_fraction` must leave a sample to train on, of 3; got"):
        drawn(3, fraction=0.1, seed=0)
    with pytest.raises(ConfigError, match="`subset_fraction` leaves out none of 80 samples"):
        drawn(80, fraction=0.999, seed=0)
    settings = settings_for("digits", "emp", subset_fraction=0.5, seed=2, **SMALL)
    whole = splits_of(settings.replace(subset_fraction=1.0), None)
    splits = splits_of(settings, None)
    assert splits.train.x.equal(whole.train.x[drawn(80, fraction=0.5, seed=2)])
    assert splits.test is whole.test
    assert splits_of(settings.replace(method=MethodSpec.parse("greedy")), None).train.x.equal(splits.train.x)
    assert settings.folder_name != settings.replace(subset_fraction=1.0).folder_name


def test_a_run_can_leave_samples_out_that_its_seed_draws() -> None:
    whole, left = drawn(50, fraction=0.5, seed=4), drawn(50, fraction=0.5, leave_out=2, seed=4)
    assert len(left) == 23
    assert set(left.tolist()) < set(whole.tolist())
    settings = settings_for("digits", "emp", leave_out=1, **SMALL)
    everything = splits_of(settings.replace(leave_out=0), None).train
    assert settings.folder_name != settings.replace(leave_out=0).folder_name
    missing = {int((~torch.isin(torch.arange(80), drawn(80, leave_out=1, seed=seed))).nonzero()) for seed in range(20)}
    assert len(missing) > 10
    for seed in range(3):
        train = splits_of(settings.replace(seed=seed), None).train
        assert train.x.equal(everything.x[drawn(80, leave_out=1, seed=seed)])
        assert len(train) == 79
    with pytest.raises(ConfigError, match="`leave_out` must leave a sample to train on, of 80; got leave_out=80, "):
        splits_of(settings.replace(leave_out=80), None)


def test_a_run_on_a_subset_costs_a_share_of_the_subset(tmp_path: Path) -> None:
    settings = settings_for("digits", "emp", keep=0.5, subset_fraction=0.5, **{**SMALL, "batch_size": 10})
    training = run_small(settings, tmp_path)
    assert training.pruner.num_samples == 40
    assert int(training.pruner.visits.sum()) == 40


def test_what_is_labelled_wrong_is_memorized_most(tmp_path: Path) -> None:
    data: dict[str, Any] = {**SMALL, "train_size": 120}
    options: dict[str, Any] = {"epochs": 40, "train_size": 120, "max_lr": 0.2, "label_noise": 0.25, "precision": "fp32"}
    findings = found("memorization", "digits", tmp_path, methods=["full"], subset_fraction=0.6, **options)
    given, right = (
        splits_of(settings_for("digits", "full", label_noise=noise, **data), None).train.y for noise in (0.25, 0)
    )
    wrong = (given != right).numpy()
    assert wrong.sum() == 30
    per_sample = np.array(findings.values["methods"]["full"]["per_sample"], dtype=float)
    assert np.nanmean(per_sample[wrong]) > np.nanmean(per_sample[~wrong]) + 0.2


@pytest.mark.parametrize(("name", "task"), [("memorization", "digits"), ("alignment-gap", "simclr-digits")])
def test_a_measured_run_is_not_measured_again_and_every_sample_has_a_value(
    name: str, task: str, tmp_path: Path
) -> None:
    methods = ["random-permutation", "emp"]
    first = found(name, task, tmp_path, methods=methods)
    when = {path: path.stat().st_mtime_ns for path in tmp_path.rglob(f"{name}.npy")}
    assert len(when) == 6
    again = found(name, task, tmp_path, methods=methods)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob(f"{name}.npy")} == when
    assert again.values == first.values

    (_, emp) = first.values["methods"]
    assert emp == ("emp:pool=2" if task == "digits" else "emp:memory=instance-entropy:pool=2")
    for method in first.values["methods"].values():
        assert len(method["per_sample"]) == 80
        assert len(method["per_run"]) == 3
        assert all(value is None or -1 <= value <= 1 for value in method["per_sample"])
        assert list(method["quantiles"].values()) == sorted(method["quantiles"].values())
    assert first.values["methods"]["random-permutation"]["difference"] is None
    assert first.values["methods"][emp]["difference"] == pytest.approx(
        first.values["methods"][emp]["mean"] - first.values["methods"]["random-permutation"]["mean"]
    )
    values = [v for method in first.values["methods"].values() for v in method["per_sample"] if v is not None]
    if name == "alignment-gap":
        assert np.ptp(values) == pytest.approx(1, abs=1e-3)
        assert 0 < first.values["divided_by"] <= 2


def test_the_alignment_is_the_distance_of_views_that_are_the_same_for_every_model() -> None:
    settings = settings_for("simclr-digits", "random", **SMALL)
    training = training_of(settings)
    split = training.run.splits.train
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    measured = AlignmentGap().measure(training, split)
    assert measured.equal(AlignmentGap().measure(training, split))
    assert all(before[name].equal(value) for name, value in training.model.state_dict().items())
    assert training.model.training
    draws = torch.Generator().manual_seed(0)
    training.model.eval()
    expected = torch.zeros(80)
    for _ in range(NUM_PAIRS):
        features = [training.model.get_submodule("encoder")(v) for v in training.objective.transform(draws, split.x)]
        for sample in range(80):
            one, other = (view[sample] / view[sample].norm() for view in features)
            expected[sample] -= (one - other).norm().item() / NUM_PAIRS
    torch.testing.assert_close(measured, expected, atol=1e-5, rtol=1e-5)


def test_a_result_from_elsewhere_has_no_model_to_measure(tmp_path: Path) -> None:
    experiment = experiment_of("memorization")
    runs = runs_of(experiment, tmp_path)
    shutil.rmtree(runs[0].folder / "checkpoints")
    with pytest.raises(RunError, match="holds a result without its last checkpoint"):
        ANALYSES["memorization"].conclude(experiment, runs)


@pytest.mark.parametrize("seed", range(10))
def test_which_labels_are_wrong_has_nothing_to_do_with_which_are_drawn(seed: int) -> None:
    y = torch.arange(4000) % 10
    wrong = with_label_noise(y, 0.1, num_classes=10) != y
    assert float(wrong[drawn(4000, fraction=0.1, seed=seed)].float().mean()) == pytest.approx(0.1, abs=0.05)

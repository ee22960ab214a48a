from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from emprune_lab.analyses.loss_curves import LossCurves
from emprune_lab.errors import RunError
from hypothesis import given
from hypothesis import strategies as st

import emprune
from tests.lab.analyses.support import concluded, experiment_of, pretended


def test_golden_values(tmp_path: Path) -> None:
    curves = {("random-permutation", 0): (2.0, 1.0), ("random-permutation", 1): (4.0, 2.0), ("emp", 0): (3.0, 2.0)}
    runs = [
        pretended(tmp_path / f"{method}-{seed}", method=method, seed=seed, probe_losses={1: half, 3: end})
        for (method, seed), (half, end) in curves.items()
    ]
    conclusion = LossCurves().conclude(experiment_of("loss-curves", methods=["random-permutation", "emp"]), runs)
    even, emp = conclusion.values["methods"].values()
    assert even["epochs"] == emp["epochs"] == [2, 4]
    assert [loss["mean"] for loss in even["loss"]] == [3.0, 1.5]
    assert even["per_run"] == [[2.0, 1.0], [4.0, 2.0]]
    assert even["loss"][1]["half_width"] == pytest.approx(6.353, abs=1e-3)  # t(0.975, 1) · 0.5
    assert emp["loss"][1] == {"mean": 2.0, "half_width": None}
    assert emp["difference_at_the_end"]["mean"] == 1.0  # of the seed that both have
    intervals, reading = conclusion.remarks
    assert intervals == (
        "Means over the runs ± 95 % intervals (Student t); difference: to random-permutation, paired by seed."
    )
    assert "extreme low-frequency learning as we read it" in reading


def test_the_loss_on_the_probe_falls(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 6, "keep": 0.7, "train_size": 400, "max_lr": 0.1}
    conclusion = concluded("loss-curves", tmp_path, methods=["emp", "full"], num_runs=1, **settings)
    for method in conclusion.values["methods"].values():
        losses = [loss["mean"] for loss in method["loss"]]
        assert len(losses) == 6
        assert losses[-1] < losses[0]
    assert conclusion.remarks == ["Means over the runs ± 95 % intervals (Student t)."]


def test_a_run_of_an_older_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds a run of an older emprune, without probe_loss. Delete it"):
        LossCurves().conclude(experiment_of("loss-curves"), [pretended(tmp_path / "0", probe_losses={})])


@hypothesis.settings(max_examples=40, deadline=None)
@given(num_samples=st.integers(2, 60), keep=st.floats(0.05, 1), num_epochs=st.integers(1, 12), seed=st.integers(0, 99))
def test_random_permutation_is_always_taking_the_least_visited(
    num_samples: int, keep: float, num_epochs: int, seed: int
) -> None:
    """Extreme low-frequency learning, as we read it: the paper's third curve needs no method of its own."""
    try:
        pruner = emprune.DataPruner(
            emprune.RandomPermutation(), num_samples=num_samples, num_epochs=num_epochs, keep=keep, seed=seed
        )
    except emprune.ConfigError:
        return  # less than a visit an epoch
    for epoch in range(num_epochs):
        before = pruner.visits.clone()
        index = pruner.begin_epoch(epoch).index
        passed_over = torch.ones(num_samples, dtype=torch.bool)
        passed_over[index] = False
        if passed_over.any():
            assert before[index].max() <= before[passed_over].min()
        pruner.observe(index, torch.rand(len(index)))


def test_its_ties_are_broken_at_random() -> None:
    plans = [
        emprune.DataPruner(emprune.RandomPermutation(), num_samples=20, num_epochs=5, keep=0.2, seed=seed)
        .begin_epoch(0)
        .index
        for seed in range(50)
    ]
    counts = torch.cat(plans).bincount(minlength=20)
    assert counts.min() > 0
    assert counts.max() < 30

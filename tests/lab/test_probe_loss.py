import math
from pathlib import Path
from typing import Any

import pytest
import torch.nn.functional as F
from emprune_lab.run import Run
from emprune_lab.training import num_scored, training
from emprune_lab.training.training import PROBE_SIZE, evenly, scored_epochs

from tests.lab.runs import log, outcome, run_small, small_settings, training_of


@pytest.mark.parametrize("num_epochs", [1, 2, 19, 20, 21, 200])
def test_epochs_are_spread_evenly_and_the_last_is_among_them(num_epochs: int) -> None:
    epochs = sorted(evenly(num_epochs, times=20))
    assert epochs[-1] == num_epochs - 1
    assert len(epochs) == min(20, num_epochs)
    gaps = {later - earlier for earlier, later in zip([-1, *epochs], epochs, strict=False)}
    assert max(gaps) - min(gaps) <= 1


def test_the_probe_is_the_same_for_all_methods_of_a_seed() -> None:
    one, same, other = (
        training_of(small_settings(method, seed=seed, train_size=1200)).parts["probe"]
        for method, seed in (("emp", 0), ("greedy", 0), ("emp", 1))
    )
    assert len(one) == len(one.x.unique(dim=0)) == PROBE_SIZE
    assert one.x.equal(same.x)
    assert one.y.equal(same.y)
    assert not one.x.equal(other.x)


def test_its_loss_is_logged_and_is_plain_and_without_augmentation(tmp_path: Path) -> None:
    trained = run_small(small_settings("random", label_smoothing=0.2), tmp_path)
    records = log(tmp_path)
    assert all(math.isfinite(record["probe_loss"]) for record in records)
    probe = trained.train_split  # all of it: the training set is smaller than a probe
    trained.model.eval()
    logits = trained.model(trained.objective.task.normalise(probe.x))
    assert records[-1]["probe_loss"] == pytest.approx(F.cross_entropy(logits, probe.y).item(), rel=1e-5)
    assert outcome(tmp_path)["probe_loss"] == records[-1]["probe_loss"]


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}])
def test_measuring_it_changes_nothing(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = small_settings("emp:pool=2", **settings)
    measured = run_small(chosen, tmp_path / "with")
    scored = num_scored(measured.run)

    def without_probe(run: Run) -> dict[str, set[int]]:
        return {part: epochs for part, epochs in scored_epochs(run).items() if part != "probe"}

    monkeypatch.setattr(training, "scored_epochs", without_probe)
    without = run_small(chosen, tmp_path / "without")
    weights = [run.model.state_dict() for run in (measured, without)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    records = log(tmp_path / "with")
    assert all(record.pop("probe_loss") > 0 for record in records)
    assert records == log(tmp_path / "without")
    assert scored - num_scored(without.run) == 4 * 160  # the time estimate counts it


def test_pre_training_has_no_such_loss(tmp_path: Path) -> None:
    run_small(small_settings("random", task="simclr-digits", epochs=2), tmp_path)
    assert not any("probe_loss" in record for record in log(tmp_path))

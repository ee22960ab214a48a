from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from emprune_lab.analyses.leave_one_out import LeaveOneOut
from emprune_lab.data.dividing import drawn
from emprune_lab.training.arrays import ArrayTraining

from tests.lab.analyses.support import experiment_of, runs_of
from tests.lab.runs import checkpoint_of


def test_the_losses_are_what_a_slow_twin_finds(tmp_path: Path) -> None:
    experiment = experiment_of("leave-one-out", num_runs=3, methods=["greedy"], keep=0.3)
    runs = runs_of(experiment, tmp_path)
    conclusion = LeaveOneOut().conclude(experiment, runs)
    (method,) = conclusion.values["methods"].values()
    differences = []
    for run, told in zip(runs, method["runs"], strict=True):
        training = ArrayTraining(run.run)
        training.load_state_dict(checkpoint_of(run.folder)["session"])
        training.model.eval()
        everything, kept = run.training_set, drawn(80, leave_out=1, seed=run.seed)
        with torch.no_grad():
            logits = training.model(training.objective.task.normalise(everything.x))
        losses = F.cross_entropy(logits, everything.y, reduction="none")
        (left_out,) = set(range(80)) - set(kept.tolist())
        visits = np.load(run.folder / "visits.npy")
        assert 0 < (visits == 0).sum() < 79  # 0.3 of two epochs does not reach everybody
        seen = [losses[sample].item() for sample, n in zip(kept.tolist(), visits, strict=True) if n > 0]
        assert told["sample"] == left_out
        assert told["left_out"] == pytest.approx(losses[left_out].item(), rel=1e-4)
        assert told["seen"] == pytest.approx(np.mean(seen), rel=1e-4)
        assert told["low"] <= told["seen"] <= told["high"]
        differences.append(told["left_out"] - told["seen"])
    assert method["difference"]["mean"] == pytest.approx(np.mean(differences))
    assert method["share_above"] == pytest.approx(np.mean(np.array(differences) > 0))
    shown, gaps = (figure.drawing for figure in conclusion.figures)
    assert shown is not None
    assert list(shown.data[-1].y) == [told["left_out"] for told in method["runs"]]
    assert gaps is not None
    (gap,) = gaps.data
    assert gap.x[0] == pytest.approx(np.mean(differences))
    assert gap.error_x.array[0] == pytest.approx(method["difference"]["half_width"])


def test_methods_share_the_samples_that_are_left_out(tmp_path: Path) -> None:
    experiment = experiment_of("leave-one-out", num_runs=2, methods=["random", "emp"], epochs=1)
    one, other = LeaveOneOut().conclude(experiment, runs_of(experiment, tmp_path)).values["methods"].values()
    assert [run["sample"] for run in one["runs"]] == [run["sample"] for run in other["runs"]]
    assert LeaveOneOut.question.num_runs == 50

from pathlib import Path

import numpy as np
import pytest
from emprune_lab.analyses.static_removal import StaticRemoval, figure
from emprune_lab.comparison.statistics import Estimate
from emprune_lab.data.dividing import drawn

from tests.lab.analyses.support import experiment_of, runs_of


def test_the_losses_of_the_removed_and_the_kept_are_what_a_slow_twin_finds(tmp_path: Path) -> None:
    experiment = experiment_of("static-removal", methods=["full"], subset_fraction=[0.75, 0.25])
    runs = runs_of(experiment, tmp_path)
    conclusion = StaticRemoval().conclude(experiment, runs)
    rates = conclusion.values["methods"]["full"]
    assert [told["rate"] for told in rates] == [0.25, 0.75]
    for told in rates:
        own = [run for run in runs if run.settings.data.subset_fraction == 1 - told["rate"]]
        assert [run.seed for run in own] == [0, 1]
        for place, run in enumerate(own):
            kept = drawn(80, fraction=1 - told["rate"], seed=run.seed).tolist()
            losses = np.load(run.folder / "train-outputs.npy")[:, 0]
            removed = [loss for sample, loss in enumerate(losses) if sample not in kept]
            assert len(removed) == 80 * told["rate"]
            assert told["per_run"]["removed"][place] == pytest.approx(np.mean(removed))
            assert told["per_run"]["kept"][place] == pytest.approx(np.mean(losses[kept]))
        assert told["removed"]["mean"] == pytest.approx(np.mean(told["per_run"]["removed"]))
    (figure,) = conclusion.figures
    assert figure.drawing is not None
    for line, name in zip(figure.drawing.data, ("removed", "kept"), strict=True):
        assert list(line.x) == [25, 75]
        assert list(line.y) == pytest.approx([told[name]["mean"] for told in rates])
        assert list(line.error_y.array) == pytest.approx([told[name]["half_width"] for told in rates])


def test_what_was_removed_is_worse_known_the_more_of_it_there_is(tmp_path: Path) -> None:
    experiment = experiment_of(
        "static-removal", methods=["full"], num_runs=1, epochs=12, train_size=300, subset_fraction=[0.9, 0.1]
    )
    little, much = StaticRemoval().conclude(experiment, runs_of(experiment, tmp_path)).values["methods"]["full"]
    assert little["removed"]["mean"] < much["removed"]["mean"]


def test_the_rates_are_five_unless_told_otherwise() -> None:
    assert len(experiment_of("static-removal").variants) == 5
    (one,) = experiment_of("static-removal", subset_fraction=0.4).variants
    assert one.runs[0].data.subset_fraction == 0.4


def test_no_interval_of_a_loss_is_drawn_below_zero() -> None:
    low = Estimate(0.25, 0.5, 3)
    drawing = figure({"full": [{"rate": 0.5, "removed": low, "kept": low}]}).drawing
    assert drawing is not None
    assert [line.error_y.arrayminus[0] for line in drawing.data] == [0.25, 0.25]

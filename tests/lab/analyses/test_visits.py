from pathlib import Path

import numpy as np
import pytest
from emprune_lab.analyses.visits import Visits, quantile
from emprune_lab.errors import RunError

from tests.lab.analyses.support import concluded, experiment_of, pretended


def test_golden_values(tmp_path: Path) -> None:
    runs = [
        pretended(tmp_path / "0", seed=0, visits=[0, 0, 0, 4]),
        pretended(tmp_path / "1", seed=1, visits=[1, 1, 1, 1]),
    ]
    (values,) = Visits().conclude(experiment_of("visits"), runs).values["methods"].values()
    shares = values["share_by_visits"]
    assert shares == [0.375, 0.5, 0, 0, 0.125]
    assert [quantile(np.array(shares), share) for share in (0, 0.375, 0.5, 0.875, 0.9, 1)] == [0, 0, 1, 1, 4, 4]
    assert values["lorenz"]["samples"] == [0, 0.25, 0.5, 0.75, 1]
    assert values["lorenz"]["visits"] == [0, 0.125, 0.25, 0.375, 1]
    assert values["gini_per_run"] == [0.75, 0.0]
    assert values["gini"]["mean"] == 0.375
    assert values["never_visited"] == 0.375
    assert values["most"] == 4


def test_a_permutation_is_even_and_greedy_is_not(tmp_path: Path) -> None:
    conclusion = concluded("visits", tmp_path, methods=["random-permutation", "greedy"], num_runs=1, epochs=8, keep=0.5)
    even, greedy = conclusion.values["methods"].values()
    assert even["quantiles"]["0.95"] - even["quantiles"]["0.05"] <= 1
    assert even["gini"]["mean"] < 0.05 < greedy["gini"]["mean"]
    assert greedy["gini_difference"]["mean"] == pytest.approx(greedy["gini"]["mean"] - even["gini"]["mean"])
    assert even["gini_difference"] is None
    for method in (even, greedy):
        assert sum(method["share_by_visits"]) == pytest.approx(1)
        assert np.dot(method["share_by_visits"], range(method["most"] + 1)) == pytest.approx(4)  # half of 8 epochs


def test_what_is_pruned_is_90_per_cent_unless_told_otherwise() -> None:
    assert experiment_of("visits").settings["keep"] == 0.1
    assert experiment_of("visits", keep=0.5).settings["keep"] == 0.5
    assert experiment_of("visits", "simclr-digits", methods=["emp"]).task == "simclr-digits"


def test_a_result_from_elsewhere_has_no_visits(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds a result without visits.npy. Delete the folder to run it here."):
        Visits().conclude(experiment_of("visits"), [pretended(tmp_path / "0")])

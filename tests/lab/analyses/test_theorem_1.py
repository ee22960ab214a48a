import json
import math
from pathlib import Path

import numpy as np
import pytest
from emprune_lab.analyses.analysis import Conclusion
from emprune_lab.analyses.finished_run import FinishedRun
from emprune_lab.analyses.stored_information import Terms, coin_entropy
from emprune_lab.analyses.theorem_1 import Theorem1, caps_figure
from emprune_lab.comparison.queue import make_queue
from emprune_lab.comparison.statistics import Estimate
from hypothesis import example, given
from hypothesis import strategies as st

from tests.lab.analyses.support import experiment_of, leave, runs_of

SHARES = st.floats(0, 1)


def terms(**changes: float) -> Terms:
    values = {"noise": 0.25, "errors": 0.25, "loss": 1.5, "visited": 1.0, **changes}
    return Terms(num_classes=3, **values)


def test_golden_values() -> None:
    quarter = coin_entropy(0.25)
    assert quarter == pytest.approx(0.5623, abs=1e-4)
    rule_alone = terms()
    assert rule_alone.label_entropy == pytest.approx(quarter + 0.25 * math.log(2))
    assert rule_alone.stored_by_fit == pytest.approx(0)
    assert rule_alone.stored_least == pytest.approx(0)
    assert rule_alone.bound(0) == pytest.approx(0.25)  # exactly the wrong labels are missed
    assert rule_alone.bound(rule_alone.stored_most) == 0
    everything = terms(errors=0.0, loss=0.0)
    assert everything.stored_least == everything.stored_most == everything.label_entropy
    assert everything.bound(everything.stored_least) == 0
    half_seen = terms(errors=0.2, visited=0.5)
    assert half_seen.bound(half_seen.stored_most) == 0
    hardly_seen = terms(errors=0.25, visited=0.1)
    assert hardly_seen.bound(hardly_seen.stored_most) == pytest.approx(
        0.25 - 0.1 * rule_alone.label_entropy / math.log(2)
    )


@given(num_classes=st.integers(3, 1000), noise=SHARES, remembered=SHARES)
def test_where_the_stored_information_is_known_it_is_what_the_loss_betrays(
    num_classes: int, noise: float, remembered: float
) -> None:
    """A model that knows the rule, a share of the labels by heart, and of the others how often labels are wrong."""
    label_entropy = coin_entropy(noise) + noise * math.log(num_classes - 1)
    stored = remembered * label_entropy
    loss, errors = (1 - remembered) * label_entropy, (1 - remembered) * min(noise, 1 - 1 / num_classes)
    known = Terms(num_classes=num_classes, noise=noise, errors=errors, loss=loss, visited=1.0)
    assert known.stored_by_loss == pytest.approx(stored, abs=1e-9)
    if noise <= 1 - 1 / num_classes:
        assert known.stored_least == pytest.approx(stored, abs=1e-9)
        assert known.bound(stored) <= errors + 1e-9


@given(
    num_classes=st.integers(3, 100), noise=SHARES, errors=SHARES, loss=st.floats(0, 10), visited=st.just(1.0) | SHARES
)
@example(num_classes=3, noise=0.5, errors=0.0, loss=0.0, visited=0.0)
def test_the_caps_are_in_order(num_classes: int, noise: float, errors: float, loss: float, visited: float) -> None:
    model = Terms(num_classes=num_classes, noise=noise, errors=errors, loss=loss, visited=visited)
    assert 0 <= model.stored_least <= model.stored_most <= model.label_entropy
    assert 0 <= model.bound(model.stored_most) <= model.bound(model.stored_least) <= 1
    if model.stored_by_fit <= model.stored_most:  # else more was fitted than was looked at, by chance
        assert model.bound(model.stored_least) <= errors + 1e-9


def test_the_terms_are_what_a_slow_twin_finds(tmp_path: Path) -> None:
    experiment = experiment_of("theorem-1", methods=["random", "emp"], label_noise=0.25, keep=0.4)
    runs = runs_of(experiment, tmp_path)
    conclusion = Theorem1().conclude(experiment, runs)
    right = runs[0].clean_labels()
    for method, told in conclusion.values["methods"].items():
        own = [run for run in runs if run.method == method]
        missed = []
        for place, run in enumerate(own):
            losses, classes = np.load(run.folder / "train-outputs.npy").T
            labels = run.training_set.y.numpy()
            assert (labels != right).sum() == 20
            hit = [int(classes[sample]) == labels[sample] for sample in range(80)]
            assert told["per_run"]["fitted"][place] == pytest.approx(np.mean(hit))
            assert told["per_run"]["loss"][place] == pytest.approx(losses.mean(), rel=1e-6)
            wrong = [hit[sample] for sample in range(80) if labels[sample] != right[sample]]
            assert told["per_run"]["wrong_fitted"][place] == pytest.approx(np.mean(wrong))
            assert told["per_run"]["visited"][place] == np.mean(np.load(run.folder / "visits.npy") > 0) < 1
            missed.append([not one for one in hit])
        h = np.mean([coin_entropy(float(np.mean([run[sample] for run in missed]))) for sample in range(80)])
        assert told["error_entropy_over_runs"] == pytest.approx(h)
        assert told["label_entropy"]["mean"] == pytest.approx(coin_entropy(0.25) + 0.25 * math.log(9))
        assert told["fitted"]["mean"] <= told["cap_lowest"]["mean"] + 1e-9 <= told["cap_proved"]["mean"] + 2e-9
    assert any("a surrogate of ours" in remark for remark in conclusion.remarks)


def test_a_part_of_the_data_without_a_wrong_label_has_no_share_of_them_that_is_fitted(tmp_path: Path) -> None:
    experiment = experiment_of("theorem-1", methods=["random"], label_noise=0.03, subset_fraction=0.2, keep=0.4)
    runs = runs_of(experiment, tmp_path)
    right = runs[0].clean_labels()
    wrong = [int((run.training_set.y.numpy() != right)[run.trained_on].sum()) for run in runs]
    assert min(wrong) == 0, "the seeds must draw a part without one"
    conclusion = Theorem1().conclude(experiment, runs)
    (told,) = conclusion.values["methods"].values()
    assert [share is None for share in told["per_run"]["wrong_fitted"]] == [number == 0 for number in wrong]
    assert (told["wrong_fitted"] is None) == (max(wrong) == 0)
    json.dumps(conclusion.values, allow_nan=False)


def conclusion_of(out: Path, visited: float) -> Conclusion:
    """What is concluded of runs that looked at a share of the samples, and miss every second one."""
    experiment = experiment_of("theorem-1", label_noise=0.25)
    runs = [FinishedRun(job.run, job.folder) for job in make_queue(experiment, out).jobs]
    for run in runs:
        labels = run.training_set.y.numpy()
        size = len(labels)
        missing = (labels + np.arange(size) % 2) % 10
        outputs = np.stack([np.ones(size), missing], axis=1)
        leave(run, visits=[int(at < visited * size) for at in range(size)], measured={"train-outputs": outputs})
    return Theorem1().conclude(experiment, runs)


@pytest.mark.parametrize(
    ("visited", "why"),
    [
        (1.0, "nearly every label was looked at."),
        (0.65, "H(e) is at least H(y|x) of the labels that were not looked at, 35% at most."),
    ],
)
def test_why_the_theorem_says_nothing_is_the_true_cause(visited: float, why: str, tmp_path: Path) -> None:
    remarks = conclusion_of(tmp_path, visited).remarks
    assert remarks[-1] == f"What is proved of the theorem says nothing here: {why}"
    assert len([remark for remark in conclusion_of(tmp_path / "few", 0.1).remarks if "says nothing" in remark]) == 0


def test_no_interval_of_what_is_fitted_is_drawn_beyond_100_per_cent() -> None:
    cap = Estimate(1.0, 0.0, 2)
    fitted = {"per_run": {"fitted": np.array([0.9, 1.0])}, "cap_lowest": cap, "cap_proved": cap}
    figure = caps_figure({"emp": fitted}, 0.8).drawing
    assert figure is not None
    (bars,) = [trace for trace in figure.data if trace.error_x.array is not None]
    assert bars.error_x.array[0] == pytest.approx(5)
    assert bars.error_x.arrayminus[0] > 50

"""The campaign on wrong labels: its label sets, its measures, its worker on data for seconds, and its tables."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import label_campaign
import label_measures
import label_sets
import label_table
import numpy as np
import pytest
import torch
from label_campaign import SEEDS, Unit, Worker, registered
from label_training import Recipe, Trainer
from torch import Tensor, nn

from tests.lab.reports import call_script

MADE = "20ng:uniform:0.4"


def clusters(num_samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four classes far apart."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (num_samples,), generator=generator)
    return torch.eye(4)[y] * 4 + torch.randn(num_samples, 4, generator=generator), y


def data_of(name: str, seed: int, **_: Any) -> label_sets.LabelData:
    x, true = clusters(256, seed)
    given = label_sets.with_wrong_labels(true, 0.25, 4, None, np.random.default_rng(seed))
    held = clusters(64, seed + 1)
    return label_sets.LabelData(name, x, given, true, held, held, 4, lambda: nn.Linear(4, 4), None, lambda part: part)


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    recipe = Recipe(epochs=10, max_lr=0.1, batch_size=4)
    return Worker(
        tmp_path / "results", tmp_path / "work", tmp_path, recipes={"20ng": recipe}, compiled=False, reader=data_of
    )


def test_exactly_a_share_of_the_labels_is_wrong_and_towards_the_nearest_class_if_one_is_given() -> None:
    x, true = clusters(100, 0)
    towards = label_sets.nearest_class(x, true)
    given = label_sets.with_wrong_labels(true, 0.4, 4, towards, np.random.default_rng(0))
    wrong = given != true
    assert int(wrong.sum()) == 40
    assert given[wrong].equal(towards[true[wrong]])
    assert not (towards == torch.arange(4)).any()


def test_human_labels_of_images_in_another_order_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "cifar10n.npz"
    np.savez(file, clean_label=np.array([0, 1], np.uint8), worse_label=np.array([1, 1], np.uint8))
    assert label_sets.human_labels(file, "worse_label", torch.tensor([0, 1])).tolist() == [1, 1]
    with pytest.raises(ValueError, match="in the order of"):
        label_sets.human_labels(file, "worse_label", torch.tensor([1, 0]))


def test_the_validation_part_is_wrong_as_the_training_set_is_class_by_class() -> None:
    true = torch.arange(2).repeat(500)
    given = true.clone()
    given[true == 0] = torch.tensor([0, 1]).repeat(250)  # half of class 0, and nothing of class 1
    drawn = label_sets.wrong_in_the_same_way(true, given, true, np.random.default_rng(0))
    assert abs(float((drawn[true == 0] != 0).float().mean()) - 0.5) < 0.1
    assert (drawn[true == 1] == 1).all()


def test_what_was_never_learnt_is_the_most_suspicious_by_its_first_epoch_and_its_forgetting() -> None:
    values = np.array([0.0, 0.0])
    columns = dict.fromkeys(("mean_margin", "mean_loss", "loss", "aum"), values)
    found = label_measures.suspicions({**columns, "first_learnt": np.array([-1.0, 9.0]), "forgotten": np.array([0, 7])})
    assert found["first_learnt"][0] > found["first_learnt"][1]
    assert found["forgotten"][0] > found["forgotten"][1]


def test_equal_suspicions_are_ordered_at_random_and_average_to_the_share_of_the_wrong() -> None:
    wrong = np.arange(1000) < 300
    found = label_measures.measured(np.zeros(1000), wrong, seed=0)
    assert found["average"] == 0.3
    assert 0.2 < found["as_many"] < 0.4


def test_the_small_label_sets_of_seed_0_come_first_and_only_some_are_trained_again() -> None:
    units = list(registered())
    assert [(unit.stage, unit.seed) for unit in units[:16]] == [("signals", 0)] * 8 + [("cleanlab", 0)] * 8
    assert [unit.seed for unit in units] == sorted(unit.seed for unit in units)
    again = {unit.label_set for unit in units if unit.stage == "worth"}
    assert "cifar10:worse_label" in again
    assert "cifar10:aggre_label" not in again


def test_a_unit_is_finished_once_and_finds_wrong_labels(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_campaign, "provenance", dict)
    unit = Unit("signals", MADE, 0)
    worker.do(unit)
    document = json.loads((worker.results / unit.path).read_text())
    runs = document["runs"]
    assert document["num_wrong"] == 64
    assert runs["full"]["visits"] == 2560
    assert abs(runs["emp"]["visits"] - 768) <= 4
    assert runs["full"]["precision"]["mean_margin"]["average"] > 0.8
    assert runs["full"]["precision"]["aum"]["average"] > 0.8
    monkeypatch.setattr(Trainer, "run", lambda *_, **__: pytest.fail("it was made again"))
    assert worker.do(unit).endswith("there")


def test_second_trainings_take_the_suspects_of_the_first(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_campaign, "provenance", dict)
    unit = Unit("worth", MADE, 0)
    worker.do(unit)  # the first run's columns are not there, so it makes them
    runs = json.loads((worker.results / unit.path).read_text())["runs"]
    assert runs["correct-suspects"]["visits"] == 2560
    assert runs["drop-suspects"]["visits"] == runs["drop-random"]["visits"] == 1920
    assert runs["correct-suspects"]["num_suspects"] == 64


def test_a_guard_is_judged_at_one_cost(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_campaign, "provenance", dict)
    unit = Unit("guard", MADE, 0)
    worker.do(unit)
    runs = json.loads((worker.results / unit.path).read_text())["runs"]
    assert len({run["visits"] for run in runs.values()}) == 1
    assert len({run["accuracy"] for run in runs.values()}) > 1
    assert [unit.label_set for unit in registered(["guard"], [0])][-2:] == list(label_sets.RIGHT)


def test_cleanlab_ranks_predictions_of_samples_that_a_fold_has_not_seen(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cleanlab", reason="the experiment alone needs it")
    unit = Unit("cleanlab", MADE, 0)
    worker.do(unit)
    runs = json.loads((worker.results / unit.path).read_text())["runs"]
    assert abs(runs["cleanlab"]["visits"] / 2560 - 4) < 0.1
    assert abs(runs["cleanlab-at-our-cost"]["visits"] / 768 - 1) < 0.1
    assert runs["cleanlab"]["precision"]["confident_learning"]["average"] > 0.8


Precision = dict[str, dict[str, float]]


def precision(names: tuple[str, ...], value: Callable[[str], float]) -> Precision:
    measures = ("average", "first_1_percent", "first_5_percent", "as_many")
    return {name: dict.fromkeys(measures, value(name)) for name in names}


def write_stage(folder: Path, label_set: str, stage: str, seed: int, runs: dict[str, Any]) -> None:
    label_campaign.write(folder / Unit(stage, label_set, seed).path, {"runs": runs})


def write_label_set(folder: Path, label_set: str, *, seeds: tuple[int, ...] = SEEDS) -> None:
    names = (*label_measures.SIGNALS, "aum", *label_measures.COMBINATIONS)
    for seed in seeds:
        ours = precision(names, lambda name, seed=seed: 0.5 + seed / 100 + 0.2 * (name == "mean_loss+loss"))  # type: ignore[misc]
        signals = {run: {"visits": 300, "accuracy": 80.0, "precision": ours} for run in label_campaign.SIGNAL_RUNS}
        theirs = precision(label_table.CLEANLAB, lambda name: 0.6 if name == "self_confidence" else 0.4)
        folds = {run: {"visits": 4000, "precision": theirs} for run in label_campaign.FOLD_RUNS}
        write_stage(folder, label_set, "signals", seed, signals)
        write_stage(folder, label_set, "cleanlab", seed, folds)
        write_stage(folder, label_set, "worth", seed, {run: {"accuracy": 81.0 + seed} for run in label_campaign.WORTH})


def test_a_label_set_without_every_seed_is_not_shown(tmp_path: Path) -> None:
    write_label_set(tmp_path, MADE, seeds=(0, 1))
    assert label_table.complete(tmp_path, "signals") == {}
    write_label_set(tmp_path, MADE)
    assert list(label_table.complete(tmp_path, "signals")) == [MADE]


def test_one_run_is_held_against_the_best_of_cleanlabs_rankings(tmp_path: Path) -> None:
    write_label_set(tmp_path, MADE)
    signals, folds = (label_table.complete(tmp_path, stage) for stage in ("signals", "cleanlab"))
    row = label_table.goal(signals, folds, "mean_margin").splitlines()[-1]
    assert row.startswith(f"| {MADE} | 51.0 ± 2.5 | 60.0 (all equal) (self_confidence) | -9.0 ± 2.5 |")
    assert row.endswith("| 0.075 |")


def test_random_permutation_must_be_above_emp_for_certain_and_near_cleanlab_on_labels_of_people(tmp_path: Path) -> None:
    above = {"cifar10:aggre_label": 0.3, "cifar10:random_label1": 0.0, "cifar10:worse_label": 0.05, MADE: 0.3}
    for label_set, gain in above.items():
        write_label_set(tmp_path, label_set)
        for seed in SEEDS:
            path = tmp_path / Unit("signals", label_set, seed).path
            runs = json.loads(path.read_text())["runs"]
            runs["random-permutation"]["precision"]["mean_margin"]["average"] += gain + seed / 1000
            label_campaign.write(path, {"runs": runs})
    signals, folds = (label_table.complete(tmp_path, stage) for stage in ("signals", "cleanlab"))
    assert label_table.amended(signals, folds, "mean_margin").splitlines()[2:] == [
        "| cifar10:aggre_label | +30.1 ± 0.2 | +21.1 ± 2.7 | yes |",
        "| cifar10:random_label1 | +0.1 ± 0.2 | -8.9 ± 2.7 | no |",
        "| cifar10:worse_label | +5.1 ± 0.2 | -3.9 ± 2.7 | yes |",
    ]


def test_a_table_has_every_label_set_and_run_and_every_signal_that_is_asked_for(tmp_path: Path) -> None:
    write_label_set(tmp_path, MADE)
    write_label_set(tmp_path, "fashion-mnist:uniform:0.1")
    signals, folds = (label_table.complete(tmp_path, stage) for stage in ("signals", "cleanlab"))
    table = label_table.by_label_set(signals, ["emp", "full"], ["loss", "mean_loss+loss"]).splitlines()[2:]
    assert len(table) == 4
    assert table[0].endswith("| emp | 51.0 ± 2.5 | 71.0 ± 2.5 |")
    first = label_table.first_of(signals, folds, "mean_loss+loss").splitlines()[2:]
    assert [row.partition(" | ")[2] for row in first] == [" | ".join(["71.0 ± 2.5 | 60.0 (all equal)"] * 3) + " |"] * 2


def test_a_combination_must_be_best_on_every_other_task_too(tmp_path: Path) -> None:
    write_label_set(tmp_path, "fashion-mnist:uniform:0.1")
    tuned = label_table.complete(tmp_path, "signals")
    assert label_table.chosen(label_table.means_by_task(tuned)) == ("mean_loss+loss", False)
    write_label_set(tmp_path, MADE)
    both = label_table.means_by_task(label_table.complete(tmp_path, "signals"))
    assert label_table.chosen(both) == ("mean_loss+loss", True)
    both["20ng"]["loss"] = 99.0
    assert label_table.chosen(both) == ("mean_loss+loss", False)


def test_a_guard_is_held_against_random_permutation_and_against_emp(tmp_path: Path) -> None:
    for seed in SEEDS:
        accuracies = dict(zip(label_campaign.GUARD_RUNS, (80.0, 78.0, 81.0, 82.0), strict=True))
        runs = {run: {"accuracy": accuracy + seed} for run, accuracy in accuracies.items()}
        write_stage(tmp_path, MADE, "guard", seed, runs)
    row = label_table.guarded(label_table.complete(tmp_path, "guard")).splitlines()[-1]
    points = [cell.split(" ")[1] for cell in row.split("|")[3:7]]
    assert points == ["-2.00", "+1.00", "+2.00", "+3.00"]


def test_what_a_second_training_changes_is_paired_by_seed(tmp_path: Path) -> None:
    write_label_set(tmp_path, MADE)
    signals, retrained = (label_table.complete(tmp_path, stage) for stage in ("signals", "worth"))
    assert label_table.worth(signals, retrained).splitlines()[-1].count("+2.00 ± 2.48") == 3


def test_the_page_of_results_has_what_the_command_prints() -> None:
    folder = Path(label_table.__file__).parent
    outcome = call_script(folder / "label_table.py")
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output.strip() in (folder / "README.md").read_text(encoding="utf-8")

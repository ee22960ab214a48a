"""Contrastive pre-training in the lab: the same loop, another objective."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.errors import StoppedError
from emprune_lab.models import make_encoder
from emprune_lab.settings import Settings
from emprune_lab.training import num_scored
from emprune_lab.training.arrays import ArrayTraining
from emprune_lab.training.objectives.contrastive import TEMPERATURE, Contrastive
from emprune_lab.training.probes import knn_accuracy, linear_probe_accuracy

import emprune
from emprune.errors import ConfigError
from tests.distributed.pool import RankPool
from tests.lab.runs import assert_equal_runs, log, outcome, run_small, settings_for, small_settings, training_of
from tests.lab.test_ranks import share

UNLIKE = ["emp", "emp:memory=view-alignment:pool=2", "infobatch:normalize=true", "random-permutation"]
"""Methods that differ in what a run measures, weighs and saves."""
OTHERS = ["greedy", "ucb:replan_every=2", "epsilon-greedy", "full"]
METHODS = [*UNLIKE, *(pytest.param(method, marks=pytest.mark.matrix) for method in OTHERS)]


def settings_of(method: str = "emp", **settings: Any) -> Settings:
    return small_settings(method, task="simclr-digits", **settings)


def training_for(method: str = "emp", **settings: Any) -> ArrayTraining:
    return training_of(settings_of(method, **settings))


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_and_resumed_run_is_bit_equal_to_the_whole_one(method: str, tmp_path: Path) -> None:
    settings = settings_of(method, validation=0.2)
    whole = run_small(settings, tmp_path / "whole")
    for stop_after in (1, 3, 4):
        with pytest.raises(StoppedError):
            run_small(settings, tmp_path / "parts", stop_after=stop_after)
    parts = run_small(settings, tmp_path / "parts")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts", (whole, parts))


def test_it_resumes_after_any_batch(tmp_path: Path) -> None:
    settings = settings_of(epochs=2, train_size=96)
    whole = run_small(settings, tmp_path / "whole")
    steps = outcome(tmp_path / "whole")["optimizer_steps"]
    assert steps == 4
    for stop_after in range(1, steps):
        folder = tmp_path / str(stop_after)
        with pytest.raises(StoppedError):
            run_small(settings, folder, stop_after=stop_after)
        assert_equal_runs(tmp_path / "whole", folder, (whole, run_small(settings, folder)))


def test_the_result_has_the_probe_the_neighbours_the_loss_and_the_exact_cost(tmp_path: Path) -> None:
    training = run_small(settings_of("emp:memory=view-alignment", validation=0.2), tmp_path)
    result, visits = outcome(tmp_path), np.load(tmp_path / "visits.npy")
    assert result["visits"] == visits.sum()
    assert abs(result["visits"] - 0.3 * 128 * 4) <= 16
    assert result["optimizer_steps"] == result["visits"] / 16
    assert result["final_learning_rate"] == 0.0
    features, held_out = (
        training.objective.predict_all(training.model, split.x)
        for split in (training.train_split, training.parts["test"])
    )
    train, test = training.train_split, training.run.splits.test
    assert features.shape == (128, 64)
    for name, accuracy in (("accuracy", linear_probe_accuracy), ("knn_accuracy", knn_accuracy)):
        assert result[name] == accuracy(features, train.y, test_features=held_out, test_y=test.y)
        assert 0 <= result[f"validation_{name}"] <= 100
    assert 0 < result["loss"] < np.log(31) + 2 / TEMPERATURE
    records = log(tmp_path)
    assert [record["epoch"] for record in records if "test_accuracy" in record] == [3]
    assert result["test_accuracy_by_epoch"] == {"4": result["accuracy"]}


def test_training_learns_what_names_the_class(tmp_path: Path) -> None:
    trained, random = tmp_path / "trained", tmp_path / "random"
    run_small(settings_of("full", epochs=10, train_size=300, batch_size=50), trained)
    run_small(settings_of("full", epochs=1, train_size=300, batch_size=50, max_lr=1e-9), random)
    assert outcome(trained)["loss"] < outcome(random)["loss"] - 0.3
    assert outcome(trained)["knn_accuracy"] > outcome(random)["knn_accuracy"]


def test_a_batch_becomes_two_views_that_differ_and_come_again() -> None:
    training = training_for()
    training.loader.set_epoch(0)
    again = training_for()
    again.loader.set_epoch(0)
    for (index, views), (same_index, same_views) in zip(training.loader, again.loader, strict=True):
        assert index.equal(same_index)
        first, second = views
        assert first.shape == second.shape == (16, 1, 8, 8)
        assert not (first == second).flatten(1).all(1).any()
        assert first.equal(same_views[0])
        assert second.equal(same_views[1])


def test_the_step_is_the_loop_of_the_documentation() -> None:
    training = training_for()
    training.loader.set_epoch(0)
    _, views = next(iter(training.loader))
    ours = training.objective.losses(training.network, views)
    with emprune.memory.capture_features(training.model, "encoder") as features:
        _, z = training.model(torch.cat(list(views)).contiguous(memory_format=torch.channels_last))
    assert ours.optimised.equal(emprune.losses.nt_xent(*z.chunk(2), temperature=TEMPERATURE))
    assert ours.scored.equal(ours.optimised)
    assert not ours.scored.requires_grad
    for term in (emprune.memory.instance_entropy, emprune.memory.view_alignment):
        assert term(ours.outputs).equal(term(features))


def test_batches_are_whole_where_the_cost_is_planned() -> None:
    training = training_for("full", train_size=150)
    training.loader.set_epoch(0)
    assert [len(index) for index, _ in training.loader] == [16] * 9


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("emp", "emp:memory=instance-entropy:pool=2"),
        ("emp:memory=instance_entropy", "emp:memory=instance-entropy:pool=2"),
        ("emp:pool=none", "emp:memory=instance-entropy:pool=none"),
        ("emp:memory=view-alignment:beta=1", "emp:beta=1:memory=view-alignment:pool=2"),
        ("greedy", "greedy"),
    ],
)
def test_the_memory_term_is_a_contrastive_one_and_named(text: str, method: str) -> None:
    settings = settings_of(text)
    assert str(settings.method) == method
    assert Settings.read(json.loads(json.dumps(settings.model_dump()))) == settings
    assert settings.folder_name == settings_of(method).folder_name
    terms = {"emp": emprune.EMP(memory="instance_entropy"), "greedy": emprune.Greedy()}
    if text in terms:
        assert settings.method.make() == terms[text]


@pytest.mark.parametrize(
    ("task", "method", "message"),
    [
        ("simclr-digits", "emp:memory=prediction-entropy", "must be a term for contrastive, instance-entropy or view-"),
        ("digits", "emp:memory=instance-entropy", "must be a term for classification, prediction-entropy; got"),
        ("digits", "emp:memory=view_alignment:pool=2", "got 'emp:memory=view_alignment:pool=2'. Leave it out for"),
        ("simclr-digits", "emp:memory=nonsense", "`emp:memory` must be .*got 'nonsense'"),
    ],
)  # fmt: skip
def test_a_term_of_the_other_objective_is_refused(task: str, method: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_for(task, method)
    with pytest.raises(ConfigError, match=message):
        Experiment(task=task, methods=["random", method])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"label_smoothing": 0.1}, "`label_smoothing` must be 0 where training knows no labels"),
        ({"model": "timm:resnet18"}, "(needs timm|Only our own models)"),
        ({"batch_size": 1}, "`batch_size` must be at least 2"),
        ({"schedule": "linear"}, "`schedule` must be one of one-cycle, cosine"),
        ({"record": "all"}, "`record` must be mean_loss alone, or nothing, with simclr-.*, which has no classes"),
    ],
)
def test_what_pre_training_cannot_do_is_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_of(**setting)


def test_an_experiment_knows_two_spellings_as_one_method_and_as_the_baseline() -> None:
    with pytest.raises(ConfigError, match="listed twice"):
        Experiment(task="simclr-digits", methods=["emp", "emp:memory=instance-entropy"])
    experiment = Experiment(task="simclr-digits", methods=["emp", "greedy"], baseline="emp", seeds=[0])
    assert experiment.baseline == str(experiment.variants[0].runs[0].method)


@pytest.mark.parametrize(("name", "width"), [("tiny-resnet", 64), ("small-resnet", 64), ("resnet18", 512)])
def test_an_encoder_is_a_model_without_its_classifier(name: str, width: int) -> None:
    model = make_encoder(name, in_channels=1)
    features, projections = model(torch.zeros(2, 1, 8, 8))
    assert features.shape == (2, width)
    assert projections.shape == (2, 128)
    assert not any("classifier" in parameter for parameter, _ in model.named_parameters())


def test_recalibration_and_a_running_average_are_scored_as_well(tmp_path: Path) -> None:
    run_small(settings_of("random", epochs=2, recalibrate_bn=True, ema=0.5), tmp_path)
    assert 0 <= outcome(tmp_path)["accuracy_recalibrated"] <= 100


def test_bf16_runs_too(tmp_path: Path) -> None:
    run_small(settings_of(precision="bf16", epochs=2), tmp_path)
    assert outcome(tmp_path)["machine"]["precision"] == "bf16"


@pytest.mark.distributed
def test_ranks_share_a_run_and_one_of_them_scores_it(ranks: RankPool, tmp_path: Path) -> None:
    settings = settings_of("emp:memory=view-alignment", epochs=2, train_size=96)
    both = ranks.run(share, settings, tmp_path / "two", world_size=2)
    assert both[0]["result"] == both[1]["result"]
    assert all(both[0]["weights"][name].equal(both[1]["weights"][name]) for name in both[0]["weights"])
    run_small(settings, tmp_path / "one")
    for name in ("visits", "optimizer_steps", "final_learning_rate"):
        assert both[0]["result"][name] == outcome(tmp_path / "one")[name]
    assert both[0]["result"]["loss"] == pytest.approx(outcome(tmp_path / "one")["loss"], abs=0.2)


def test_what_scoring_takes_is_foreseen() -> None:
    training = training_for(validation=0.25)
    assert isinstance(training.objective, Contrastive)
    assert num_scored(training.run) == 120 + 3 * 450 + 120 + 3 * 40


def test_a_classification_task_is_untouched_by_all_this() -> None:
    assert str(small_settings("emp").method) == "emp:pool=2"
    assert small_settings("emp").training.schedule == "one-cycle"

"""The judgement's rules, on accuracies whose verdict is known."""

import json
import runpy
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.tasks import get_task
from PIL import Image
from scipy.stats import t as student

from emprune.methods import plugins, registry
from tests.lab.reports import call_script, result_of
from tests.lab.runs import settings_for, small_settings

FOLDER = Path(__file__).parents[2] / "experiments/judgement"
BASE, JUDGED, QUOTAS = "random-permutation", "emp:pool=gap", "random-permutation@equal"
TASKS = ("a", "b", "c", "d", "e")
CELLS = [(task, keep) for task in TASKS for keep in (0.3, 0.1)]
MARGINS = dict.fromkeys(CELLS, 2.0)


@pytest.fixture(scope="module")
def judge() -> dict[str, Any]:
    return runpy.run_path(str(FOLDER / "judge.py"))


@pytest.fixture
def variants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer the tournament's variants, as their distribution does where it is installed."""
    project = tomllib.loads((FOLDER.parent / "tournament/variants/pyproject.toml").read_text())["project"]
    points = project["entry-points"][plugins.GROUP]
    offered = {name: (EntryPoint(name, target, plugins.GROUP),) for name, target in points.items()}
    monkeypatch.setattr(plugins, "offered", lambda: offered)
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))


def cells_of(gains: Mapping[str, float], *, noise: float = 0.3) -> dict[tuple[str, float], dict[str, dict[int, float]]]:
    """Each method above random permutation by so many points, give or take."""
    draw = np.random.default_rng(0)
    cells = {}
    for cell in CELLS:
        level = {seed: 70 + float(draw.normal()) for seed in range(3)}
        cells[cell] = {BASE: level} | {
            method: {seed: level[seed] + gain + noise * float(draw.normal()) for seed in level}
            for method, gain in gains.items()
        }
    return cells


def said(judge: Mapping[str, Any], gains: Mapping[str, float], **options: float) -> str:
    return "\n".join(judge["verdict_lines"](cells_of(gains, **options), JUDGED, MARGINS))


def test_a_method_that_gains_everywhere_is_never_worse_and_better_than_every_other(judge: Mapping[str, Any]) -> None:
    text = said(judge, {JUDGED: 1.0, "greedy": -1.0, "order-dp": 0.2})
    assert "Surely worse: no cell." in text
    assert "Never worse than random permutation: holds." in text
    assert "Better than every other method: holds." in text


def test_a_method_with_a_better_rival_is_not_better_than_every_other(judge: Mapping[str, Any]) -> None:
    text = said(judge, {JUDGED: 0.3, "order-dp": 1.0})
    assert "Never worse than random permutation: holds." in text
    assert "Better than every other method: does not hold." in text


@pytest.mark.parametrize(("gain", "noise"), [(-1.5, 0.3), (0.0, 9.0)])
def test_what_loses_half_a_margin_or_is_not_known_does_not_hold(
    judge: Mapping[str, Any], gain: float, noise: float
) -> None:
    assert "Never worse than random permutation: does not hold." in said(judge, {JUDGED: gain}, noise=noise)


def test_a_cell_that_is_surely_worse_is_named(judge: Mapping[str, Any]) -> None:
    cells = cells_of({JUDGED: 1.0}, noise=0.01)
    cells["b", 0.1][JUDGED] = {seed: level - 8 - 0.01 * seed for seed, level in cells["b", 0.1][BASE].items()}
    text = "\n".join(judge["verdict_lines"](cells, JUDGED, MARGINS))
    assert "Surely worse: b at 0.1." in text
    assert "Never worse than random permutation: does not hold." in text


def test_the_pooled_bound_is_that_of_the_mean_over_tasks(judge: Mapping[str, Any]) -> None:
    found = judge["gains"](cells_of({JUDGED: 0.5}), JUDGED)
    per_task = np.array([
        [np.mean([found[task, keep][seed] / 2.0 for keep in (0.3, 0.1)]) for seed in range(3)] for task in TASKS
    ])  # fmt: skip
    variances = per_task.var(axis=1, ddof=1) / 3
    freedom = variances.sum() ** 2 / (variances**2 / 2).sum()
    mean, bound = judge["pooled"](found, MARGINS)
    assert mean == pytest.approx(per_task.mean())
    assert bound == pytest.approx(mean - student.ppf(0.95, freedom) * np.sqrt(variances.sum()) / 5)


def write(path: Path, runs: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"format": 3, "runs": list(runs)}))
    return path


def test_the_margins_and_the_gains_are_read_of_the_test_set_on_complete_seeds(tmp_path: Path) -> None:
    def run(method: str, keep: float, seed: int, accuracy: float) -> dict[str, Any]:
        settings = small_settings(method, keep=keep, seed=seed, validation=0.25)
        return result_of(settings) | {"accuracy": accuracy, "validation_accuracy": 1.0}

    alone = [run(BASE, keep, seed, 80 + seed * keep) for keep in (0.3, 0.1) for seed in range(3)]
    script = FOLDER / "judge.py"
    printed = call_script(script, "margins", write(tmp_path / "alone/results.json", alone))
    assert printed.output.split() == ['("digits",', "0.3):", "0.61,", '("digits",', "0.1):", "0.20,"]
    runs = [*alone, *(run("greedy", keep, seed, 81 + seed * keep) for keep in (0.3, 0.1) for seed in range(2))]
    outcome = call_script(script, "verdicts", write(tmp_path / "all/results.json", runs), "--judged", "greedy")
    assert "| digits | 0.3 |" in outcome.output
    assert "+1.00 (all equal)" in outcome.output
    assert "80.15" in outcome.output  # the mean of the two seeds that both have


def test_a_task_without_one_of_the_keeps_is_not_used(tmp_path: Path) -> None:
    def run(task: str, keep: float) -> dict[str, Any]:
        result = result_of(small_settings(BASE, keep=keep, seed=0, validation=0.25)) | {"accuracy": 80.0}
        return result | {"settings": result["settings"] | {"task": task}}

    runs = [run("digits", 0.3), run("digits", 0.1), run("fashion-mnist", 0.3)]
    outcome = call_script(FOLDER / "judge.py", "verdicts", write(tmp_path / "all/results.json", runs))
    assert outcome.output.count("| digits |") == 2
    assert "fashion-mnist" not in outcome.output
    assert "Nothing is judged before" in outcome.output


@pytest.mark.usefixtures("variants")
@pytest.mark.parametrize("name", ["imdb", "simclr-digits"])
def test_methods_that_a_task_writes_otherwise_are_the_same(judge: Mapping[str, Any], name: str) -> None:
    experiment = Experiment.read(FOLDER / f"{name}.toml")
    others = map(str, Experiment.read(FOLDER / "20ng.toml").specs)
    assert {judge["same_name"](str(spec)) for spec in experiment.specs} <= set(others)


def test_the_comparisons_have_the_same_methods_but_for_what_two_classes_and_pre_training_ask() -> None:
    files = {path.stem: tomllib.loads(path.read_text()) for path in FOLDER.glob("*.toml")}
    assert set(files) == {"20ng", "r52", "imdb", "cifar10-human", "cifar100-tail", "simclr-digits"}
    methods = files["20ng"]["methods"]
    assert all(file["methods"] == methods for name, file in files.items() if name not in ("imdb", "simclr-digits"))
    assert [method.replace(":beta=5", "") for method in files["imdb"]["methods"]] == methods
    assert files["simclr-digits"]["methods"] == [method for method in methods if method not in (JUDGED, QUOTAS)]
    for file in files.values():
        assert (file["seeds"], file["settings"]["keep"], file["settings"]["tail_epochs"]) == ("300-302", [0.3, 0.1], 0)


@pytest.mark.usefixtures("variants")
@pytest.mark.parametrize("name", ["20ng", "r52", "imdb", "cifar100-tail", "simclr-digits"])
def test_a_comparison_is_possible(name: str) -> None:
    experiment = Experiment.read(FOLDER / f"{name}.toml")
    assert [len(variant.runs) for variant in experiment.variants] == [3 * len(experiment.methods)] * 2


def test_images_are_sorted_by_the_labels_that_people_gave(tmp_path: Path) -> None:
    script = runpy.run_path(str(FOLDER / "human_folder.py"))
    x = torch.arange(30 * 3 * 32 * 32).reshape(30, 3, 32, 32).remainder(256).byte()
    given = np.arange(30) % 10
    script["write_part"](x.numpy(), given.tolist(), tmp_path / "train")
    script["write_part"](x[:10].numpy(), list(range(10)), tmp_path / "test")
    task = get_task(f"image-folder:{tmp_path}:size=32")
    splits = task.load(tmp_path / "data")
    assert np.bincount(splits.train.y).tolist() == [3] * 10
    picture = np.asarray(Image.open(tmp_path / "train/bird/00012.png"))
    assert np.array_equal(picture.transpose(2, 0, 1), x[12].numpy())
    assert settings_for(task.name, "emp").task == task.name

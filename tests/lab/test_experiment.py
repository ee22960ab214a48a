import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from emprune_lab.comparison.experiment import Experiment, parse_seeds
from emprune_lab.earlier import settings_of
from emprune_lab.method_spec import listed_methods
from emprune_lab.settings import Settings

from emprune.errors import ConfigError
from tests.lab.runs import settings_for

METHODS = ["full", "random-permutation", "emp:pool=2"]


def runs_of(methods: list[str], seeds: list[int], **settings: Any) -> tuple[Settings, ...]:
    (variant,) = Experiment(task="digits", methods=methods, seeds=seeds, settings=settings).variants
    return variant.runs


def test_the_runs_are_seed_by_seed_at_equal_cost() -> None:
    runs = runs_of(METHODS, [0, 1], keep=0.4, tail_epochs=3)
    assert [(str(run.method), run.seed) for run in runs] == [(m, s) for s in (0, 1) for m in METHODS]
    assert {(run.cost.keep, run.cost.tail_epochs) for run in runs if run.method.name != "full"} == {(0.4, 3)}
    assert {(run.cost.keep, run.cost.tail_epochs) for run in runs if run.method.name == "full"} == {(1.0, None)}


def test_infobatch_has_its_own_tail_only_where_none_is_given() -> None:
    def tail(tail_epochs: int | None) -> int | None:
        (settings,) = runs_of(["infobatch"], [0], keep=0.3, tail_epochs=tail_epochs)
        return settings.cost.tail_epochs

    assert (tail(None), tail(2)) == (None, 2)


@pytest.mark.parametrize(
    ("settings", "instead"),
    [
        ({"tail_fraction": 0.25, "keep": 0.3, "epochs": 60}, "tail_epochs=5"),
        ({"tail_fraction": [0, 0.25], "keep": [0.3, 0.1], "epochs": 60}, "tail_epochs=0"),
        ({"warmup_fraction": 0.9, "keep": 0.1, "epochs": 15}, "warmup_epochs=1"),
        ({"tail_fraction": "a quarter", "epochs": 60}, "tail_epochs=0"),
    ],
)
def test_a_share_of_the_visits_is_refused_with_the_epochs_that_it_was(settings: dict[str, Any], instead: str) -> None:
    with pytest.raises(ConfigError, match=f"_fraction` is gone.* got .*_fraction=.* write {instead}\\."):
        runs_of(["full", "emp"], [0], **settings)
    if not any(isinstance(value, list) for value in settings.values()):
        with pytest.raises(ConfigError, match=f"write {instead}\\."):
            settings_for("digits", "emp", **settings)


def test_the_example_that_the_docs_name_can_be_run() -> None:
    experiment = Experiment.read(Path(__file__).parents[2] / "examples" / "digits.toml")
    assert experiment.task == "digits"
    assert len(experiment.variants) == 2


def test_lists_are_varied_in_every_combination() -> None:
    settings = {"keep": [0.3, 0.1], "tail_epochs": [0, 1], "epochs": 20}
    variants = Experiment(task="digits", methods=["emp"], seeds=[0], settings=settings).variants
    assert [v.title for v in variants] == [
        "keep 0.3, tail epochs 0", "keep 0.3, tail epochs 1",
        "keep 0.1, tail epochs 0", "keep 0.1, tail epochs 1",
    ]  # fmt: skip
    assert [(v.runs[0].cost.keep, v.runs[0].cost.tail_epochs) for v in variants][3] == (0.1, 1)


def test_a_file_says_it_all(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(
        'title = "a claim"\ntask = "digits"\nmethods = ["full", "emp"]\nseeds = "5-6"\nmargin = 0.3\n'
        "[settings]\nkeep = [0.3, 0.1]\nepochs = 12\nimbalance = 5\n"
    )
    experiment = Experiment.read(file)
    assert (experiment.title, experiment.seeds, experiment.margin) == ("a claim", [5, 6], 0.3)
    assert len(experiment.variants) == 2
    assert experiment.variants[0].runs[1].data.imbalance == 5.0


def test_an_unknown_setting_is_refused_with_those_that_can_be_given() -> None:
    with pytest.raises(ConfigError, match="Unknown setting") as refused:
        Experiment(task="digits", methods=["emp"], settings={"kep": 0.3})
    there_are = str(refused.value).partition("There are: ")[2].rstrip(".").split(", ")
    assert "recipe" in there_are
    assert {"files", "initial_digest"}.isdisjoint(there_are)


def test_a_file_may_name_all_methods_as_the_option_does(tmp_path: Path) -> None:
    file = tmp_path / "all.toml"
    file.write_text('task = "digits"\nmethods = ["all"]\nseeds = 1\n')
    assert Experiment.read(file).methods == listed_methods("all")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task = ", "is not a readable TOML file"),
        ("task = " + "[" * 100_000, "is not a readable TOML file"),
        ('task = "digits"', "must name methods"),
        ('task = "digits"\nmethod = ["emp"]', "Unknown entry of .*Did you mean 'methods'"),
        ('task = "digits"\nmethods = ["emp"]\nseeds = 0', "`seeds` must name at least one seed"),
        ('task = "digits"\nmethods = ["emp"]\nmargin = -1', "`margin` must be positive"),
        ('task = "digits"\nmethods = ["emp"]\nmargin = inf', "`margin` must be positive and finite, .*got margin=inf"),
        (
            'task = "digits"\nmethods = ["emp"]\n[settings]\nkeep = [0.3, 0.1, 0.3]',
            "`keep` must have each of its values once; got keep=.0.3, 0.1, 0.3.",
        ),
        ('task = "digits"\nmethods = ["emp"]\n[settings]\nmax_lr = [1, 1.0]', "`max_lr` must have each .* once"),
        ('task = "digits"\nmethods = ["emp"]\n[settings]\nkep = 0.3', "Unknown setting.*Did you mean 'keep'"),
        ('task = "digits"\nmethods = ["emp", "emp:beta=3"]', "listed twice; got emp:pool=2, emp:pool=2"),
        ('task = "digits"\nmethods = "emp"', "`methods` must be a list of names; got methods='emp'"),
        (
            'task = "digits"\nmethods = ["emp"]\nmargin = "0.3"',
            "`margin` must be a number, a difference of the metric; got",
        ),
        ('task = "digits"\nmethods = ["emp"]\nbaseline = 3', "`baseline` must be text; got baseline=3"),
        ('task = "digits"\nmethods = ["emp"]\nbaseline = "ucb"', "`baseline` must be one of the methods"),
        ('task = "digits"\nmethods = ["emp"]\n[settings]\nseed = 3', "`settings` must not hold 'seed'"),
        ('task = "digits"\nmethods = ["emp"]\n[settings]\nkeep = []', "`keep` must have a value"),
        ('task = "digits"\nmethods = ["emp"]\nsettings = 3', "`settings` must be a table"),
        ('task = "digits"\nmethods = []', "needs a seed and a method"),
        ('task = "digits"\nmethods = ["emp"]\n[settings]\nrecipe = "slow"', "Unknown recipe of digits"),
        ('task = "digits"\nmethods = ["emp"]\n[settings]\nrecipe = 3', "`recipe` must be a name; got recipe=3"),
        (
            'task = "digits"\nmethods = ["emp"]\n[settings]\nkeep = true',
            r"`keep` must be in \(0, 1\], .*; got keep=True",
        ),
        ('task = "digits"\nmethods = ["emp"]\n[settings]\nfiles = "abc"', "`settings` must not hold 'files'"),
    ],
)
def test_a_file_that_cannot_be_run_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        Experiment.read(tmp_path / "one.toml")


@pytest.mark.parametrize("text", ["", "-", "5-", "3-1", "x"])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        parse_seeds(text)


def test_equal_settings_have_one_folder_and_defaults_do_not_count_in_its_name() -> None:
    one, same, other = (
        settings_for("digits", "emp", imbalance=i, label_noise=n) for i, n in ((1, 0), (1.0, 0.0), (2, 0.1))
    )
    assert one.folder_name == same.folder_name != other.folder_name
    old = {**one.named(), **one.flat()}
    for name in ("ema", "imbalance", "optimizer"):  # written before those settings existed
        del old[name]
    assert settings_of(old) == one


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_file_is_utf_8_with_a_byte_order_mark_or_without(mark: bytes, tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_bytes(mark + 'title = "ü"\ntask = "digits"\nmethods = ["random"]\n'.encode())
    assert Experiment.read(path).title == "ü"
    path.write_bytes('title = "ü"\n'.encode("latin-1"))
    with pytest.raises(ConfigError, match="experiment.toml is not a readable TOML file"):
        Experiment.read(path)


def test_files_are_read_alike_in_every_locale(tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text('title = "ü"\ntask = "digits"\nmethods = ["random"]\n', encoding="utf-8")
    code = f"import pathlib, emprune_lab.comparison.experiment as e; e.Experiment.read(pathlib.Path({str(path)!r}))"
    locale = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=locale, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")

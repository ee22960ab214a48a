import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from emprune_lab.comparison.experiment import Experiment, parse_seeds
from emprune_lab.settings import RunConfig

from emprune.errors import ConfigError

METHODS = ["full", "random-permutation", "emp:pool=2"]


def configs(methods: list[str], seeds: list[int], **settings: Any) -> tuple[RunConfig, ...]:
    (variant,) = Experiment(task="digits", methods=methods, seeds=seeds, settings=settings).variants()
    return variant.configs


def test_the_runs_are_seed_by_seed_at_equal_cost() -> None:
    runs = configs(METHODS, [0, 1], keep=0.4, tail_epochs=3)
    assert [(config.method, config.seed) for config in runs] == [(m, s) for s in (0, 1) for m in METHODS]
    assert {(config.keep, config.tail_epochs) for config in runs if config.method != "full"} == {(0.4, 3)}
    assert {(config.keep, config.tail_epochs) for config in runs if config.method == "full"} == {(1.0, None)}


def test_infobatch_has_its_own_tail_only_where_none_is_given() -> None:
    def tail(tail_epochs: int | None) -> int | None:
        (config,) = configs(["infobatch"], [0], keep=0.3, tail_epochs=tail_epochs)
        return config.tail_epochs

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
        configs(["full", "emp"], [0], **settings)
    if not any(isinstance(value, list) for value in settings.values()):
        with pytest.raises(ConfigError, match=f"write {instead}\\."):
            RunConfig.for_task("digits", "emp", **settings)


def test_the_example_that_the_docs_name_can_be_run() -> None:
    experiment = Experiment.read(Path(__file__).parents[2] / "examples" / "digits.toml")
    assert experiment.task == "digits"
    assert len(experiment.variants()) == 2


def test_lists_are_varied_in_every_combination() -> None:
    settings = {"keep": [0.3, 0.1], "tail_epochs": [0, 1], "epochs": 20}
    variants = Experiment(task="digits", methods=["emp"], seeds=[0], settings=settings).variants()
    assert [v.title for v in variants] == [
        "keep 0.3, tail epochs 0", "keep 0.3, tail epochs 1",
        "keep 0.1, tail epochs 0", "keep 0.1, tail epochs 1",
    ]  # fmt: skip
    assert [(v.configs[0].keep, v.configs[0].tail_epochs) for v in variants][3] == (0.1, 1)


def test_a_file_says_it_all(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(
        'title = "a claim"\ntask = "digits"\nmethods = ["full", "emp"]\nseeds = "5-6"\nmargin = 0.3\n'
        "[settings]\nkeep = [0.3, 0.1]\nepochs = 12\nimbalance = 5\n"
    )
    experiment = Experiment.read(file)
    assert (experiment.title, experiment.seeds, experiment.margin) == ("a claim", [5, 6], 0.3)
    assert len(experiment.variants()) == 2
    assert experiment.variants()[0].configs[1].imbalance == 5.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task = ", "is not a readable TOML file"),
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
        ('task = "digits"\nmethods = ["emp"]\nmargin = "0.3"', "`margin` must be a number, points of accuracy; got"),
        ('task = "digits"\nmethods = ["emp"]\nbaseline = 3', "`baseline` must be text; got baseline=3"),
        ('task = "digits"\nmethods = ["emp"]\n[settings]\nseed = 3', "`settings` must not hold 'seed'"),
        ('task = "digits"\nmethods = ["emp"]\n[settings]\nkeep = []', "`keep` must have a value"),
        ('task = "digits"\nmethods = ["emp"]\nsettings = 3', "`settings` must be a table"),
        ('task = "digits"\nmethods = []', "needs a seed and a method"),
        ('task = "digits"\nmethods = ["emp"]\n[settings]\nrecipe = "slow"', "Unknown recipe of digits"),
        ('task = "digits"\nmethods = ["emp"]\n[settings]\nrecipe = 3', "`recipe` must be a name; got recipe=3"),
        (
            'task = "digits"\nmethods = ["emp"]\n[settings]\nkeep = true',
            "`keep` must be a number, a share; got keep=T",
        ),
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
        RunConfig.for_task("digits", "emp", imbalance=i, label_noise=n) for i, n in ((1, 0), (1.0, 0.0), (2, 0.1))
    )
    assert one.folder_name == same.folder_name != other.folder_name
    old = {name: value for name, value in one.to_json().items() if name not in ("ema", "imbalance", "optimizer")}
    assert RunConfig.from_json(old) == one  # written before those settings existed


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

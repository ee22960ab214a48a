import json
import re
from typing import Any

import pytest
from emprune_lab.earlier import settings_of
from emprune_lab.settings import Settings

from emprune.errors import ConfigError
from tests.lab.runs import run_of, settings_for


def test_what_is_not_given_comes_from_the_recipe() -> None:
    settings = settings_for("fashion-mnist", "emp:pool=2:beta=3", batch_size=64)
    assert (settings.cost.epochs, settings.training.batch_size) == (60, 64)
    assert settings.training.model == "small-resnet"
    assert str(settings.method) == "emp:pool=2"


@pytest.mark.parametrize(("method", "keep"), [("full", 1.0), ("emp", 0.3)])
def test_keep_is_what_the_method_needs(method: str, keep: float) -> None:
    assert settings_for("digits", method).cost.keep == keep


def test_settings_survive_json() -> None:
    settings = settings_for("digits", "emp:pool=2", tail_epochs=2, train_size=100)
    document = json.loads(json.dumps(settings.model_dump()))
    assert Settings.read(document) == settings_of(document) == settings
    with pytest.raises(ConfigError, match="hold `colour`, which this version of emprune does not know"):
        Settings.read({**document, "cost": {**document["cost"], "colour": 1}})
    del document["cost"]["keep"]
    with pytest.raises(ConfigError, match="lack `keep`. They are of another version of emprune"):
        Settings.read(document)


def test_the_folder_name_knows_every_setting_but_the_seed() -> None:
    settings = settings_for("digits", "emp")
    assert re.fullmatch(r"emp-pool-2-[0-9a-f]{8}", settings.folder_name)
    assert settings.replace(seed=5).folder_name == settings.folder_name
    changes: list[dict[str, Any]] = [{"keep": 0.1}, {"max_lr": 0.01}, {"tail_epochs": 0}, {"train_size": 9}]
    assert len({settings.replace(**change).folder_name for change in [{}, *changes]}) == 5
    assert re.fullmatch(r"emp-beta-0.5-pool-2-[0-9a-f]{8}", settings_for("digits", "emp:pool=2:beta=0.5").folder_name)


@pytest.mark.parametrize(
    ("stored", "method"),
    [("emp", "emp:pool=none"), ("emp:beta=5", "emp:beta=5:pool=none"), ("emp:pool=2", "emp:pool=2"),
     ("greedy", "greedy")],
)  # fmt: skip
def test_settings_from_before_emp_had_a_pool_mean_what_they_meant(stored: str, method: str) -> None:
    settings = settings_for("digits", "greedy")
    values = {**settings.named(), **settings.flat(), "method": stored}
    assert str(settings_of(values).method) == method


def test_differences_are_named() -> None:
    settings = settings_for("digits", "emp")
    assert settings.differences(settings) == []
    other = settings.replace(keep=0.1, seed=2, method=settings_for("digits", "greedy").method)
    assert settings.differences(other) == ["method: 'emp:pool=2' and 'greedy'", "seed: 0 and 2", "keep: 0.3 and 0.1"]


IMPOSSIBLE: list[dict[str, Any]] = [
    {"epochs": 0}, {"epochs": 1.5}, {"batch_size": 0},
    {"threads": True}, {"seed": -1}, {"train_size": 0}, {"max_lr": 0.0}, {"max_lr": float("nan")},
    {"momentum": 1.0}, {"weight_decay": -1e-4}, {"label_smoothing": 1.0}, {"validation": 1.0},
    {"device": "tpu"}, {"precision": "fp8"}, {"leave_out": -1}, {"leave_out": 0.5},
    {"epochs": "3"}, {"max_lr": "0.2"}, {"train_size": [100]}, {"keep": "0.3"}, {"keep": True}, {"keep": {"a": 1}},
    {"tail_epochs": "x"}, {"tail_epochs": 1.5}, {"warmup_epochs": False}, {"recalibrate_bn": "no"}, {"compile": 1},
    {"group_by_length": "yes"}, {"max_length": 7}, {"max_length": "64"},
    {"model": 3},
]  # fmt: skip


@pytest.mark.parametrize("setting", [*IMPOSSIBLE, {"keep": None}])
def test_impossible_settings_are_refused_by_name(setting: dict[str, Any]) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(ConfigError, match=f"`{name}` must be .*; got {name}={re.escape(repr(value))}"):
        settings_for("digits", "emp").replace(**setting)


@pytest.mark.parametrize("setting", [{"task": "digit"}, {"method": "emq"}, {"model": "vgg"}, *IMPOSSIBLE])
def test_they_are_refused_as_early_where_they_are_given(setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(ConfigError, match=f"(`{name}` must be|Unknown {name})"):
        settings_for(**{"task": "digits", "method": "emp", **setting})


@pytest.mark.parametrize(
    ("task", "given"),
    [
        ("simclr-digits", {"batch_size": 2000}),
        ("simclr-digits", {"batch_size": 256, "train_size": 300, "epochs": 2, "keep": 0.6, "tail_epochs": 1}),
        ("digits", {"batch_size": 2000, "compile": True}),
    ],
)
def test_a_batch_that_is_too_large_is_refused_by_the_name_that_users_give_it(task: str, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"Use batch_size=\d+\.$"):
        run_of(settings_for(task, "emp", **given))

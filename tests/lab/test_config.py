import json
import re
from typing import Any

import pytest
from emprune_lab.settings import RunConfig

from emprune.errors import ConfigError


def test_what_is_not_given_comes_from_the_recipe() -> None:
    config = RunConfig.for_task("fashion-mnist", "emp:pool=2:beta=3", batch_size=64)
    assert (config.epochs, config.batch_size, config.model) == (60, 64, "small-resnet")
    assert config.method == "emp:pool=2"


@pytest.mark.parametrize(("method", "keep"), [("full", 1.0), ("emp", 0.3)])
def test_keep_is_what_the_method_needs(method: str, keep: float) -> None:
    assert RunConfig.for_task("digits", method).keep == keep


def test_settings_survive_json() -> None:
    config = RunConfig.for_task("digits", "emp:pool=2", tail_epochs=2, train_size=100)
    assert RunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(ConfigError, match="another version of emprune: colour differ"):
        RunConfig.from_json({**{k: v for k, v in config.to_json().items() if k != "seed"}, "colour": 1})


def test_the_folder_name_knows_every_setting_but_the_seed() -> None:
    config = RunConfig.for_task("digits", "emp")
    assert re.fullmatch(r"emp-pool-2-[0-9a-f]{8}", config.folder_name)
    assert config.replace(seed=5).folder_name == config.folder_name
    changes: list[dict[str, Any]] = [{"keep": 0.1}, {"max_lr": 0.01}, {"tail_epochs": 0}, {"train_size": 9}]
    assert len({config.replace(**change).folder_name for change in [{}, *changes]}) == 5


@pytest.mark.parametrize(
    ("stored", "method"),
    [("emp", "emp:pool=none"), ("emp:beta=5", "emp:beta=5:pool=none"), ("emp:pool=2", "emp:pool=2"),
     ("greedy", "greedy")],
)  # fmt: skip
def test_settings_from_before_emp_had_a_pool_mean_what_they_meant(stored: str, method: str) -> None:
    values = {**RunConfig.for_task("digits", "greedy").to_json(), "method": stored}
    assert RunConfig.from_json(values).method == method


def test_differences_are_named() -> None:
    config = RunConfig.for_task("digits", "emp")
    assert config.differences(config) == []
    assert config.differences(config.replace(keep=0.1, seed=2)) == ["keep: 0.3 and 0.1", "seed: 0 and 2"]


@pytest.mark.parametrize(
    "setting",
    [
        {"task": "digit"}, {"method": "emq"}, {"model": "vgg"}, {"epochs": 0}, {"epochs": 1.5}, {"batch_size": 0},
        {"threads": True}, {"seed": -1}, {"train_size": 0}, {"max_lr": 0.0}, {"max_lr": float("nan")},
        {"momentum": 1.0}, {"weight_decay": -1e-4}, {"label_smoothing": 1.0}, {"validation": 1.0},
        {"device": "tpu"}, {"precision": "fp8"}, {"leave_out": -1}, {"leave_out": 0.5},
        {"epochs": "3"}, {"max_lr": "0.2"}, {"train_size": [100]}, {"keep": "0.3"}, {"keep": True}, {"keep": {"a": 1}},
        {"tail_epochs": "x"}, {"tail_epochs": 1.5}, {"warmup_epochs": False}, {"keep": None},
        {"recalibrate_bn": "no"}, {"compile": 1}, {"model": 3},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(setting: dict[str, Any]) -> None:
    config = RunConfig.for_task("digits", "emp")
    (name,) = setting
    with pytest.raises(ConfigError, match=f"(`{name}` must be|Unknown {name})"):
        config.replace(**setting)

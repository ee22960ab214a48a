import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from emprune_lab.models import make_model
from emprune_lab.training.arrays import ArrayTraining
from torch import nn

from emprune.errors import ConfigError
from tests.lab.runs import small_settings, training_of


@pytest.mark.parametrize(("name", "millions"), [("resnet18", 11.2), ("resnet50", 23.5)])
def test_the_resnets_have_the_published_number_of_parameters(name: str, millions: float) -> None:
    model = make_model(name, in_channels=3, num_classes=10)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
    assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def fake(name: str, **functions: Any) -> ModuleType:
    module = ModuleType(name)
    for key, value in functions.items():
        setattr(module, key, value)
    return module


def test_libraries_give_their_models_by_name_where_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def create(name: str, **options: Any) -> nn.Module:
        calls.append((name, options))
        return nn.Linear(2, 2)

    vision = fake("torchvision.models", get_model=create, list_models=lambda: ["resnet34"])
    timm = fake("timm", create_model=create, is_model=lambda name: name == "vit", list_models=lambda: ["vit"])
    for name, module in {"torchvision": fake("torchvision"), "torchvision.models": vision, "timm": timm}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    make_model("torchvision:resnet34", in_channels=3, num_classes=5)
    make_model("timm:vit", in_channels=1, num_classes=5)
    assert calls == [
        ("resnet34", {"weights": None, "num_classes": 5}),
        ("vit", {"pretrained": False, "in_chans": 1, "num_classes": 5}),
    ]
    for name, message in [
        ("torchvision:resnet3", "Unknown torchvision model; got 'resnet3'. Did you mean 'resnet34'"),
        ("timm:vi", "Unknown timm model"),
    ]:
        with pytest.raises(ConfigError, match=message):
            make_model(name, in_channels=3, num_classes=5)
    with pytest.raises(ConfigError, match="take images of 3 channels; got 1"):
        make_model("torchvision:resnet34", in_channels=1, num_classes=5)


def logits_of(training: ArrayTraining, x: torch.Tensor) -> torch.Tensor:
    return training.objective.predict(training.network, training.objective.task.normalise(x))


@pytest.mark.parametrize("optimizer", ["sgd", "lars"])
def test_every_optimizer_learns(optimizer: str) -> None:
    settings = small_settings("random", optimizer=optimizer, max_lr=0.1, epochs=2, batch_size=32)
    training = training_of(settings)
    x, y = training.train_split.x[:64], training.train_split.y[:64]
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(logits_of(training, x), y)
        loss.backward()
        training.optimizer.step()
        training.optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_running_average_is_what_is_scored_and_follows_the_weights() -> None:
    settings = small_settings("random", ema=0.5)
    training = training_of(settings)
    average = training.result_model
    assert average is not training.model
    before = training.model.state_dict()["stem.0.weight"].clone()
    training.loader.set_epoch(0)
    for (index, batch), _ in zip(training.loader, range(2), strict=False):
        training.train_on(index, batch)
    after = training.model.state_dict()["stem.0.weight"]
    averaged = average.state_dict()["module.stem.0.weight"]
    assert not averaged.equal(after)
    assert (averaged - after).abs().max() < (before - after).abs().max()
    restored = training_of(settings)
    restored.load_state_dict(training.state_dict())
    assert restored.result_model.state_dict()["module.stem.0.weight"].equal(averaged)


def test_recalibration_mends_wrong_batch_norm_statistics_and_leaves_the_model_alone() -> None:
    settings = small_settings("random")
    training = training_of(settings)
    norm = training.model.get_submodule("stem.1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    norm.running_mean.fill_(100.0)
    model = training.recalibrated()
    mended = model.get_submodule("stem.1").running_mean
    assert isinstance(mended, torch.Tensor)
    assert mended.abs().max() < 10
    assert norm.running_mean.equal(torch.full_like(norm.running_mean, 100.0))
    with torch.no_grad():
        convolved = training.model.get_submodule("stem.0")(training.objective.task.normalise(training.train_split.x))
    torch.testing.assert_close(mended, convolved.mean((0, 2, 3)), atol=0.05, rtol=0.05)

import pytest
import torch
import torch.nn.functional as F
from emprune_lab.compute import Compute
from emprune_lab.training.objectives.classification import smoothed_and_plain
from emprune_lab.training.optimization import SCHEDULES, cosine, one_cycle

from emprune.errors import ConfigError


def test_the_learning_rate_is_torchs_one_cycle_to_within_a_step() -> None:
    steps, peak = 300, 0.2
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peak, total_steps=steps, cycle_momentum=False)
    for step in range(steps):
        assert peak * one_cycle(step / (steps - 1)) == pytest.approx(scheduler.get_last_lr()[0], abs=peak / 50)
        optimizer.step()
        if step + 1 < steps:
            scheduler.step()
    assert one_cycle(0) == 1 / 25
    assert one_cycle(1) == pytest.approx(1 / 25e4)


def test_the_cosine_warms_up_falls_to_zero_and_is_the_steps_alone() -> None:
    rates = [cosine(step / 99) for step in range(100)]
    peak = rates.index(max(rates))
    assert peak == 10
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert cosine(0.55) == pytest.approx(0.5)
    assert all(0 <= schedule(place / 10) <= 1 for schedule in SCHEDULES.values() for place in range(11))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_losses_are_torchs(smoothing: float) -> None:
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = torch.arange(8) % 5
    smoothed, plain = smoothed_and_plain(logits, y, label_smoothing=smoothing)
    torch.testing.assert_close(smoothed, F.cross_entropy(logits, y, reduction="none", label_smoothing=smoothing))
    torch.testing.assert_close(plain, F.cross_entropy(logits, y, reduction="none"))
    assert smoothed.requires_grad
    assert not plain.requires_grad


def test_the_device_and_the_precision_are_decided() -> None:
    assert Compute.choose("cpu", "fp32") == Compute(torch.device("cpu"), "fp32")
    assert Compute.choose("cpu", "auto").precision in ("fp32", "bf16")
    compute = Compute.choose("cpu", "bf16")
    with compute.autocast():
        assert (torch.zeros(2, 2) @ torch.zeros(2, 2)).dtype == torch.bfloat16
    assert compute.describe()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_not_replaced_silently() -> None:
    with pytest.raises(ConfigError, match="torch sees no GPU here"):
        Compute.choose("cuda", "auto")

import colorsys
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from emprune_lab.data.augment import LUMA, blur, crop_and_flip, recolour
from emprune_lab.tasks import TASKS, get_task
from emprune_lab.tasks.simclr import colour_view, grey_view
from torch import Tensor

View = Callable[[torch.Generator, Tensor], Tensor]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(num: int = 64, channels: int = 3, size: int = 8) -> Tensor:
    smooth = F.interpolate(torch.rand(num, channels, 3, 3, generator=generator(9)), size=size, mode="bilinear")
    return (255 * smooth).round().to(torch.uint8)


@pytest.mark.parametrize(("view", "channels"), [(colour_view, 3), (grey_view, 1)])
def test_the_generator_alone_decides_and_every_image_has_its_own(view: View, channels: int) -> None:
    x = photos(channels=channels)
    before = x.clone()
    torch.manual_seed(5)
    first = view(generator(1), x)
    torch.manual_seed(6)
    assert first.equal(view(generator(1), x))
    assert not first.equal(view(generator(2), x))
    assert x.equal(before)
    assert first.dtype == torch.float32
    assert first.shape == x.shape
    assert 0 <= first.min() <= first.max() <= 255
    same = view(generator(1), x[:1].expand(40, -1, -1, -1).contiguous())
    assert len(same.flatten(1).unique(dim=0)) > 30


def test_a_crop_lies_within_its_image_and_half_are_mirrored() -> None:
    across = torch.arange(8.0).view(1, 1, 1, 8).expand(400, 2, 8, 8).clone()
    across[:, 1] = across[:, 0].mT
    cut = crop_and_flip(generator(), across)
    assert 0 <= cut.min() <= cut.max() <= 7
    columns, rows = cut[:, 0, 4], cut[:, 1, :, 4]  # of a ramp the crop is a ramp
    falling = columns[:, -1] < columns[:, 0]
    assert 150 < int(falling.sum()) < 250
    assert (rows.diff(dim=1) >= 0).all()
    width, height = ((part[:, 5] - part[:, 2]).abs() / 3 for part in (columns, rows))  # the border is cut off
    area, aspect = width * height, width / height
    assert 0.05 < area.min() < 0.2 < 0.8 < area.max() <= 1.01
    assert 3 / 4 - 0.05 < aspect.min() < 0.85 < 1.2 < aspect.max() < 4 / 3 + 0.05


def test_without_a_strength_the_colours_stay_but_for_the_grey_ones() -> None:
    x = photos(200).float()
    recoloured = recolour(generator(), x, strength=0.0)
    grey = (recoloured.amax(1) - recoloured.amin(1)).flatten(1).amax(1) < 0.1
    assert 20 < int(grey.sum()) < 60
    torch.testing.assert_close(recoloured[~grey], x[~grey], atol=0.1, rtol=0)
    luma = (x[grey] * torch.tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(recoloured[grey], luma.expand(-1, 3, -1, -1), atol=0.1, rtol=0)


def test_one_image_in_five_is_spared_and_the_hue_turns_either_way_within_its_reach() -> None:
    x = torch.tensor([150.0, 110.0, 90.0]).view(1, 3, 1, 1).expand(500, 3, 2, 2)
    recoloured = recolour(generator(), x, strength=0.5)
    assert 60 < int((recoloured - x).abs().flatten(1).amax(1).lt(0.1).sum()) < 110  # four in five times one in five
    hues = torch.tensor([colorsys.rgb_to_hsv(*(pixel / 255).tolist())[0] for pixel in recoloured[:, :, 0, 0]])
    turned = (hues - colorsys.rgb_to_hsv(150 / 255, 110 / 255, 90 / 255)[0] + 0.5) % 1 - 0.5
    grey = (recoloured.amax(1) - recoloured.amin(1)).flatten(1).amax(1) < 0.1
    assert -0.16 < turned[~grey].min() < -0.05
    assert 0.05 < turned[~grey].max() < 0.16


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_and_contrast_are_what_a_slow_twin_makes_of_the_same_draws(channels: int) -> None:
    x = 0.4 * photos(30, channels).float() + 40
    draw = torch.rand(6, 30, generator=generator(3))
    draws = generator(3)
    recoloured = recolour(draws, x, strength=0.3)
    luma = torch.tensor(LUMA) if channels == 3 else torch.ones(1)
    grey_of = lambda image: (image * luma.view(-1, 1, 1)).sum(0)  # noqa: E731
    for number in range(30):
        reach = 0.24 if draw[0, number] < 0.8 else 0.0
        brightness, contrast = (1 + reach * (2 * draw[row, number] - 1) for row in (1, 2))
        bright = brightness * x[number]
        expected = contrast * bright + (1 - contrast) * grey_of(bright).mean()
        # saturation, hue and grey leave the luma alone
        torch.testing.assert_close(grey_of(recoloured[number]), grey_of(expected), atol=0.1, rtol=0)


def test_blur_is_a_gaussian_of_three_pixels_for_half_of_the_images() -> None:
    x = torch.zeros(300, 1, 5, 5)
    x[:, :, 2, 2] = 1
    blurred = blur(generator(), x)
    changed = (blurred != x).flatten(1).any(1)
    assert 110 < int(changed.sum()) < 190
    torch.testing.assert_close(blurred.sum((1, 2, 3)), torch.ones(300))
    torch.testing.assert_close(blurred, blurred.mT)
    side, middle = blurred[changed, 0, 2, 1], blurred[changed, 0, 2, 2]
    assert (side / middle).max() < math.exp(-1 / 8) + 1e-4
    torch.testing.assert_close(blurred[:, 0, 1, 1] * blurred[:, 0, 2, 2], blurred[:, 0, 1, 2] ** 2)  # separable


def test_there_is_a_pre_training_task_for_each_of_three_data_sets() -> None:
    for name in ("fashion-mnist", "cifar10", "cifar100"):
        task = get_task(f"simclr-{name}")
        assert task.objective == "contrastive"
        assert (task.data, task.read) == (TASKS[name].data, TASKS[name].read)

import pytest
import torch
from emprune_lab.data.augment import flip, shift
from torch import Tensor


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.arange(1, 1 + 40 * 2 * 5 * 6).reshape(40, 2, 5, 6).remainder(251).to(dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_every_image_is_moved_by_whole_pixels_and_filled_with_zeros(dtype: torch.dtype) -> None:
    x = images(dtype)
    moved = shift(generator(), x, pixels=2)
    assert moved.dtype == dtype
    offsets = set()
    for before, after in zip(x, moved, strict=True):
        found = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if after.equal(slow_shift(before, dy, dx))]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) > 12


def slow_shift(image: Tensor, dy: int, dx: int) -> Tensor:
    moved = torch.zeros_like(image)
    height, width = image.shape[1:]
    for row in range(height):
        for column in range(width):
            if 0 <= row + dy < height and 0 <= column + dx < width:
                moved[:, row, column] = image[:, row + dy, column + dx]
    return moved


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others() -> None:
    x = torch.cat([images()] * 10)
    flipped = flip(generator(), x)
    same = (flipped == x).flatten(1).all(1)
    mirrored = (flipped == x.flip(-1)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 140 < int(same.sum()) < 260


def test_the_generator_alone_decides() -> None:
    x = images()
    for transform in (lambda g: shift(g, x, pixels=1), lambda g: flip(g, x)):
        torch.manual_seed(5)
        first = transform(generator(1))
        torch.manual_seed(6)
        assert first.equal(transform(generator(1)))
        assert not first.equal(transform(generator(2)))


def test_the_batch_is_not_changed_in_place() -> None:
    x = images()
    before = x.clone()
    shift(generator(), x, pixels=2)
    flip(generator(), x)
    assert x.equal(before)

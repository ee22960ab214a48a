"""Augmentation of whole batches: pure functions of a generator and the batch, on the CPU or the GPU alike.

The generator decides alone, and lives on the device of the images. `shift` and `flip` are for classification, the rest
is SimCLR's: an image draws its own crop, colours and blur, but no Python runs per image. A crop with its flip is one
resampling of the batch, and everything done to the colours of an image is one matrix.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["blur", "crop_and_flip", "flip", "recolour", "shift"]

LEAST_AREA = 0.08
LARGEST_ASPECT = 4 / 3
JITTER_PROBABILITY, GREY_PROBABILITY, BLUR_PROBABILITY = 0.8, 0.2, 0.5
BLUR_SIGMA = (0.1, 2.0)
LUMA = (0.299, 0.587, 0.114)
YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
"""Of red, green and blue: brightness, and two axes of colour. Turning the latter changes the hue."""


def shift(generator: torch.Generator, x: Tensor, *, pixels: int, border: str = "constant") -> Tensor:
    """Move each image by up to `pixels` in both directions (a padded random crop).

    Args:
        generator: Decides.
        x: Images (B, C, H, W) of any dtype.
        pixels: Largest offset, >= 0.
        border: What moves in: "constant" zeros, or "reflect" the image's own border.

    Example:
        >>> x = torch.arange(9.0).reshape(1, 1, 3, 3)
        >>> shift(torch.Generator().manual_seed(0), x, pixels=0).equal(x)
        True
    """
    height, width = x.shape[-2:]
    padded = F.pad(x, (pixels, pixels, pixels, pixels), mode=border)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, C, 2p + 1, 2p + 1, H, W)
    offset = torch.randint(0, 2 * pixels + 1, (2, len(x)), generator=generator, device=x.device)
    return windows[torch.arange(len(x), device=x.device), :, offset[0], offset[1]]


def flip(generator: torch.Generator, x: Tensor) -> Tensor:
    """Mirror each of the images (B, C, H, W), of any dtype, left to right with probability one half."""
    mirrored = torch.rand(len(x), generator=generator, device=x.device) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def crop_and_flip(generator: torch.Generator, x: Tensor) -> Tensor:
    """Cut out a rectangle of each image, mirror every second one, and scale it back to the image's size, bilinearly.

    The rectangle's share of the image's area is drawn from [0.08, 1]. Its aspect ratio is drawn from [3/4, 4/3], evenly
    in the logarithm. Where it does not fit, its longer side is cut to the image's.

    Args:
        generator: Decides.
        x: Images (B, C, H, W) of any dtype; the new ones are float32, of their range.

    Example:
        >>> x = torch.full((2, 1, 4, 4), 7.0)
        >>> torch.allclose(crop_and_flip(torch.Generator().manual_seed(0), x), x)
        True
    """
    draw = torch.rand(5, len(x), generator=generator, device=x.device)
    area = LEAST_AREA + (1 - LEAST_AREA) * draw[0]
    stretch = torch.exp(math.log(LARGEST_ASPECT) / 2 * (2 * draw[1] - 1))
    width, height = ((area.sqrt() * side).clamp(max=1) for side in (stretch, 1 / stretch))
    mirror = torch.where(draw[4] < 0.5, -1.0, 1.0)
    transform = torch.zeros(
        len(x), 2, 3, device=x.device
    )  # from the new image's coordinates in [-1, 1] to the old one's
    transform[:, 0, 0], transform[:, 1, 1] = mirror * width, height
    transform[:, 0, 2], transform[:, 1, 2] = (1 - width) * (2 * draw[2] - 1), (1 - height) * (2 * draw[3] - 1)
    grid = F.affine_grid(transform, list(x.shape), align_corners=False)
    return F.grid_sample(x.float(), grid, padding_mode="border", align_corners=False)


def recolour(generator: torch.Generator, x: Tensor, *, strength: float) -> Tensor:
    """Change brightness, contrast, saturation and hue of four images in five, and turn one in five grey.

    Brightness, contrast and saturation are multiplied by a factor from 1 ± 0.8 · strength, in this order. Then the hue
    is turned by up to 0.2 · strength of a full turn. Images of one channel have a brightness and a contrast only.

    Args:
        generator: Decides.
        x: Images (B, 1 or 3, H, W), float32 in [0, 255], as the new ones are.
        strength: In [0, 1]; SimCLR has 1 for large images and 0.5 for CIFAR.

    Example:
        >>> x = torch.rand(4, 3, 2, 2) * 255
        >>> recolour(torch.Generator().manual_seed(0), x, strength=0.5).shape
        torch.Size([4, 3, 2, 2])
    """
    num_images, channels, height, width = x.shape
    draw = torch.rand(6, num_images, generator=generator, device=x.device)
    reach = torch.where(draw[0] < JITTER_PROBABILITY, 0.8 * strength, 0.0)
    brightness, contrast, saturation = (1 + reach * (2 * d - 1) for d in draw[1:4])
    turn = 2 * math.pi * reach / 4 * (2 * draw[4] - 1)
    if channels == 3:
        colours = _colour_matrix(saturation, turn, grey=draw[5] < GREY_PROBABILITY)
        luma = torch.tensor(LUMA).to(x.device, non_blocking=True)  # `device=` waits for a GPU
    else:
        colours, luma = torch.ones(num_images, 1, 1, device=x.device), torch.ones(1, device=x.device)
    mean = x.mean((2, 3)) @ luma
    matrix = (brightness * contrast).view(-1, 1, 1) * colours
    offset = ((1 - contrast) * brightness * mean).view(-1, 1, 1)  # grey, which no colour matrix changes
    recoloured = torch.baddbmm(offset, matrix, x.flatten(2)).clamp_(0, 255)
    return recoloured.view(num_images, channels, height, width)


def _colour_matrix(saturation: Tensor, turn: Tensor, *, grey: Tensor) -> Tensor:
    """(B, 3, 3) on red, green and blue: the saturation, then the hue turned by an angle, then grey where asked for."""
    yiq = torch.tensor(YIQ)  # inverted on the CPU: a GPU's `inv` waits for what it finds
    to_yiq, from_yiq = (matrix.to(turn.device, non_blocking=True) for matrix in (yiq, torch.linalg.inv(yiq)))
    to_grey = to_yiq[0].expand(3, 3)
    share = saturation.view(-1, 1, 1)
    saturate = share * torch.eye(3, device=turn.device) + (1 - share) * to_grey
    rotate = torch.zeros(len(turn), 3, 3, device=turn.device)
    rotate[:, 0, 0] = 1
    rotate[:, 1, 1] = rotate[:, 2, 2] = turn.cos()
    rotate[:, 2, 1] = turn.sin()
    rotate[:, 1, 2] = -rotate[:, 2, 1]
    coloured = from_yiq @ rotate @ to_yiq @ saturate
    return torch.where(grey.view(-1, 1, 1), to_grey, coloured)


def blur(generator: torch.Generator, x: Tensor) -> Tensor:
    """Blur every second image with a Gaussian of three pixels; its deviation is drawn from [0.1, 2] pixels.

    Args:
        generator: Decides.
        x: Images (B, C, H, W), float32.

    Example:
        >>> x = torch.full((2, 1, 4, 4), 7.0)
        >>> torch.allclose(blur(torch.Generator().manual_seed(0), x), x)
        True
    """
    draw = torch.rand(2, len(x), generator=generator, device=x.device)
    least, most = BLUR_SIGMA
    side = torch.exp(-0.5 / (least + (most - least) * draw[1]) ** 2)
    share = torch.where(draw[0] < BLUR_PROBABILITY, side / (1 + 2 * side), 0.0).view(-1, 1, 1, 1)
    rows = F.pad(x, (0, 0, 1, 1), mode="replicate")
    x = (1 - 2 * share) * x + share * (rows[:, :, :-2] + rows[:, :, 2:])
    columns = F.pad(x, (1, 1, 0, 0), mode="replicate")
    return (1 - 2 * share) * x + share * (columns[..., :-2] + columns[..., 2:])

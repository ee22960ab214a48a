"""Augmentation of whole batches: pure functions of a generator and the batch, on the CPU or the GPU alike."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["flip", "shift"]


def shift(generator: torch.Generator, x: Tensor, *, pixels: int, border: str = "constant") -> Tensor:
    """Move each image by up to `pixels` in both directions (a padded random crop).

    Args:
        generator: Where the offsets come from; it lives on the device of `x`.
        x: Images (B, C, H, W) of any dtype.
        pixels: Largest offset, >= 0.
        border: What moves in: "constant" zeros, or "reflect" the image's own border.

    Returns:
        Images like `x`.

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
    """Mirror each image left to right with probability one half.

    Args:
        generator: Where the coin comes from; it lives on the device of `x`.
        x: Images (B, C, H, W) of any dtype.

    Returns:
        Images like `x`.
    """
    mirrored = torch.rand(len(x), generator=generator, device=x.device) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)

"""What a result was computed with and on."""

import os
import platform

import numpy as np
import torch

import emprune
from emprune.distributed import Ranks
from emprune.lab.device import Compute

__all__ = ["machine", "versions"]


def versions() -> dict[str, str]:
    """Return the versions of what decides a run's numbers."""
    return {
        "emprune": emprune.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def machine(compute: Compute, ranks: Ranks) -> dict[str, str | int | None]:
    """Return where a run was computed."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpu_count": os.cpu_count(),
        "device": compute.device.type,
        "device_name": compute.describe(),
        "precision": compute.precision,
        "num_ranks": ranks.size,
    }

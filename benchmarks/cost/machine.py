"""What the costs were measured with and on."""

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

import emprune

__all__ = ["measure"]


def measure() -> dict[str, Any]:
    """Return the versions, the CPU and the number of threads."""
    return {
        "versions": {
            "emprune": emprune.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
        "machine": {
            "system": platform.system(),
            "cpu": _cpu_model(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "cpu_count": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load_average": os.getloadavg()[0],
        },
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()

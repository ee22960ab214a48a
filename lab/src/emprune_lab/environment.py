"""What a result was computed with and on."""

import importlib.metadata
import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

import emprune
from emprune_lab.compute import Compute

__all__ = ["commit", "machine", "versions"]

GIT_SECONDS = 10


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of what decides a run's numbers, the commit of our source among them if it is under git.

    Args:
        *packages: What else decides them.
    """
    source = commit(Path(emprune.__file__).parent)
    return {
        "emprune": emprune.__version__,
        **({} if source is None else {"commit": source}),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        **{package: importlib.metadata.version(package) for package in packages},
    }


@lru_cache
def commit(folder: Path) -> str | None:
    """Return the git commit of a package's source, with `-dirty` behind it where files differ; None without git.

    A package that is merely installed below somebody else's repository is not part of it, and has none.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=GIT_SECONDS
    )
    return done.stdout.strip()


def machine(compute: Compute, world_size: int) -> dict[str, str | int | None]:
    """Return where a run was computed."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpu_count": os.cpu_count(),
        "device": compute.device.type,
        "device_name": compute.describe(),
        "precision": compute.precision,
        "world_size": world_size,
    }

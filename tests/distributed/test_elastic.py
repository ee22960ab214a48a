"""torchrun starts all ranks again when one dies: the run goes on exactly where its last state was saved."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.distributed

SCRIPT = Path(__file__).with_name("elastic_script.py")


def run(folder: Path, *, dies_after: int) -> dict[str, Any]:
    """Run the script on two ranks, one of which dies after a step of its first life; return how it ends."""
    folder.mkdir()
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "3"]
    done = subprocess.run(
        [sys.executable, *command, str(SCRIPT), str(folder), str(dies_after)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    end: dict[str, Any] = torch.load(folder / "end.pt", weights_only=True)
    return end


@pytest.mark.timeout(500)
def test_a_run_whose_rank_dies_ends_as_one_that_was_left_alone(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", dies_after=-1)
    cut = run(tmp_path / "cut", dies_after=7)  # in the third epoch, within it
    assert (whole.pop("restarted"), cut.pop("restarted")) == (False, True)
    assert cut == whole
    assert len(whole["delivered"]) == 15

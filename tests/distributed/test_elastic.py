"""torchrun starts all ranks again when one dies. The run goes on from its last saved state, and ends the same."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "examples" / "elastic.py"


def torchrun(folder: Path, *arguments: object) -> str:
    """Run the example on two ranks, which may be restarted once, and return what it printed."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = [SCRIPT, "--folder", folder, *arguments]
    command = [*launch, "--max-restarts", "1", *script]
    environment = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # a new store for each attempt
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=280, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def saved(path: Path) -> Any:
    return torch.load(path, weights_only=True)


@pytest.mark.slow
@pytest.mark.distributed
def test_ranks_that_torchrun_restarts_end_as_those_that_nothing_disturbed(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert "goes on" not in torchrun(whole)
    said = torchrun(broken, "--die-at", 13)  # in the second epoch, three steps after the last saved state
    assert {line for line in said.splitlines() if "goes on" in line} == {
        f"rank {rank} goes on after step 10" for rank in range(2)
    }
    plans = sorted(path.name for path in whole.glob("plan-*.pt"))
    assert len(plans) == 5
    assert all(saved(broken / name).equal(saved(whole / name)) for name in plans)
    one, other = saved(whole / "end.pt"), saved(broken / "end.pt")
    assert one["step"] == other["step"]
    assert one["visits"].equal(other["visits"])
    assert all(value.equal(other["model"][name]) for name, value in one["model"].items())

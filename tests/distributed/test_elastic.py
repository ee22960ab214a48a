"""torchrun starts all ranks again when one dies. The run goes on from its last saved state, and ends the same."""

import runpy
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tests.forks import forks

SCRIPT = Path(__file__).parents[2] / "examples" / "elastic.py"
NEW_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"  # for each attempt


def be_script(*arguments: str) -> None:
    sys.argv = [str(SCRIPT), *arguments]
    runpy.run_path(str(SCRIPT), run_name="__main__")


def warm(folder: Path, *arguments: object) -> str:
    """Do what `torchrun --standalone` does, with ranks that are forked warm; return what they printed."""
    logs = folder.with_suffix(".logs")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        max_restarts=1,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=folder.name,
        start_method=forks.get_start_method(),
        logs_specs=DefaultLogsSpecs(log_dir=str(logs), redirects=Std.OUT),
    )
    ended: Future[Any] = Future()

    def launch() -> None:
        try:
            ended.set_result(elastic_launch(config, be_script)("--folder", str(folder), *map(str, arguments)))
        except BaseException as error:
            ended.set_exception(error)

    # Not in the main thread, where it would take pytest's signals. Nobody waits for it where a rank hangs.
    Thread(target=launch, daemon=True).start()
    ended.result(timeout=240)
    return "".join(path.read_text() for path in logs.rglob("stdout.log"))


def torchrun(folder: Path, *arguments: object) -> str:
    """Run the example by the command, and return what it printed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "1", str(SCRIPT), "--folder", str(folder), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


def saved(path: Path) -> Any:
    return torch.load(path, weights_only=True)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("start", [warm, pytest.param(torchrun, marks=pytest.mark.matrix)])
def test_ranks_that_torchrun_restarts_end_as_those_that_nothing_disturbed(
    start: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NEW_STORE, "1")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert "goes on" not in start(whole)
    said = start(broken, "--die-at", 13)  # in the second epoch, three steps after the last saved state
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

"""Names are looked up, specifications parsed and devices chosen once, at the top; what is below takes a `Run`."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import emprune_lab.commands.compare  # before `calls` looks for who has imported `get_task`
import pytest
from emprune_lab.comparison import pool
from emprune_lab.comparison.queue import Job
from emprune_lab.compute import Compute
from emprune_lab.method_spec import MethodSpec
from emprune_lab.run import Run
from emprune_lab.tasks import get_task

import emprune
from tests.lab.reports import call
from tests.lab.runs import SilentReporter

SMALL = ["--epochs", 2, "--train-size", 80, "--batch-size", 16, "--precision", "fp32", "--device", "cpu"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each is called of what a run is resolved by."""
    counted: Counter[str] = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call_it(*args: Any, **kwargs: Any) -> Any:
            counted[name] += 1
            return function(*args, **kwargs)

        return call_it

    for owner, name in ((MethodSpec, "parse"), (Compute, "choose"), (Run, "resolve")):
        monkeypatch.setattr(owner, name, staticmethod(counting(name, getattr(owner, name))))
    monkeypatch.setattr(emprune.DataPruner, "__init__", counting("pruner", emprune.DataPruner.__init__))
    for module in [module for name, module in sys.modules.items() if name.startswith("emprune_lab")]:
        if getattr(module, "get_task", None) is get_task:
            monkeypatch.setattr(module, "get_task", counting("get_task", get_task))
    return counted


@pytest.mark.parametrize("task", ["digits", "simclr-digits"])
@pytest.mark.parametrize("method", ["emp", "infobatch", "full"])
def test_a_run_is_resolved_once_from_the_command_to_the_trainer(
    task: str, method: str, calls: Counter[str], tmp_path: Path
) -> None:
    code, _, stderr = call("run", task, "--method", method, *SMALL, "--out", tmp_path)
    assert code == 0, stderr
    assert calls == {"get_task": 1, "parse": 1, "choose": 1, "resolve": 1, "pruner": 2}  # one plans the sizes


def test_an_unfinished_run_that_goes_on_is_resolved_once_as_well(calls: Counter[str], tmp_path: Path) -> None:
    for more in (["--resume"], ["--overwrite"]):
        calls.clear()
        assert call("run", "digits", *SMALL, "--out", tmp_path, *more)[0] == 0
        assert calls == {"get_task": 1, "parse": 1, "choose": 1, "resolve": 1, "pruner": 2}
    calls.clear()
    assert call("run", "digits", *SMALL, "--out", tmp_path)[0] == 0  # finished: it is shown
    assert calls == {"get_task": 1, "parse": 1}


def test_a_comparison_resolves_each_run_once(
    calls: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, where calls are counted; the report, which reads what is stored, is another matter."""

    def make_here(jobs: Sequence[Job], **options: Any) -> None:
        for job in jobs:
            pool.make_run(job.run, job.folder, report=SilentReporter(), stop=lambda: False)

    monkeypatch.setattr(pool, "run_in_pool", make_here)
    monkeypatch.setattr(emprune_lab.commands.compare, "report_comparison", lambda queue, **options: None)
    methods = ["--methods", "random,emp", "--baseline", "random-permutation", "--seeds", 2]
    code, stdout, stderr = call("compare", "digits", *methods, *SMALL, "--out", tmp_path)
    assert code == 0, stderr
    assert "emp:pool=2" in stdout
    assert len(list(tmp_path.rglob("result.json"))) == 4
    assert calls == {"get_task": 1, "parse": 3, "choose": 4, "resolve": 4, "pruner": 8}  # two methods, one baseline

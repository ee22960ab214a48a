"""Runs that several ranks share: each sample to one of them, one log, one result, resumed with fewer or more."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emprune_lab.errors import StoppedError
from emprune_lab.results.record import RunRecord
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import Settings
from emprune_lab.training import stopping

from emprune.errors import ConfigError
from tests.distributed.pool import RankPool
from tests.forks import Ended, call_forked
from tests.lab.runs import SilentReporter, log, outcome, small_settings, training_of

pytestmark = pytest.mark.distributed


def share(settings: Settings, path: Path, stop_after: int | None = None, stopping_rank: int = 0) -> dict[str, Any]:
    """Run in `path` on all ranks, one of which may ask to stop; return what this rank was delivered, and the rest."""
    asked_every, stopping.ASKED_EVERY = stopping.ASKED_EVERY, 1
    training = training_of(settings)
    leads, report, delivered = training.ranks.rank == 0, SilentReporter(), list[tuple[int, list[int]]]()
    observe = training.pruner.observe

    def record(index: torch.Tensor, *arguments: Any, **options: Any) -> None:
        delivered.append((training.pruner.epoch, index.tolist()))
        observe(index, *arguments, **options)

    training.pruner.observe = record  # type: ignore[method-assign]
    folder = RunFolder.open(path, settings, resume=True) if leads else RunFolder(path)
    asks = training.ranks.rank == stopping_rank and stop_after is not None
    try:
        result: RunRecord | None = training.train(
            folder, report=report, stop=lambda: asks and report.steps >= (stop_after or 0)
        )
    except StoppedError:
        result = None
    finally:
        stopping.ASKED_EVERY = asked_every
    weights = {name: values.clone() for name, values in training.model.named_parameters()}
    plan = sorted(training.pruner.plan.index.tolist())
    return {"delivered": delivered, "result": result, "steps": report.steps, "weights": weights, "plan": plan}


def samples(ranks: list[dict[str, Any]], epoch: int) -> list[int]:
    """Every delivery of an epoch, on all ranks."""
    return sorted(s for rank in ranks for e, batch in rank["delivered"] if e == epoch for s in batch)


@pytest.mark.parametrize("method", ["emp:pool=2", "infobatch", "full"])
def test_each_planned_sample_goes_to_one_rank_and_the_run_is_written_once(
    ranks: RankPool, tmp_path: Path, method: str
) -> None:
    settings = small_settings(method)
    both = ranks.run(share, settings, tmp_path / "two", world_size=2)
    assert both[0]["result"] == both[1]["result"] == RunFolder(tmp_path / "two").result()
    for epoch in range(settings.cost.epochs):
        once = samples(both, epoch)
        assert len(once) == len(set(once)) == log(tmp_path / "two")[epoch]["num_kept"]
    assert samples(both, settings.cost.epochs - 1) == both[0]["plan"] == both[1]["plan"]
    visits = np.load(tmp_path / "two" / "visits.npy")
    everything = [s for epoch in range(settings.cost.epochs) for s in samples(both, epoch)]
    assert np.array_equal(visits, np.bincount(everything, minlength=len(visits)))
    assert [record["epoch"] for record in log(tmp_path / "two")] == [0, 1, 2, 3]
    assert all(both[0]["weights"][name].equal(both[1]["weights"][name]) for name in both[0]["weights"])
    [alone] = ranks.run(share, settings, tmp_path / "one", world_size=1)
    for name in ("visits", "optimizer_steps", "final_learning_rate"):
        assert both[0]["result"][name] == alone["result"][name]
    assert RunFolder(tmp_path / "two").result()["machine"]["world_size"] == 2


@pytest.mark.parametrize("stopping_rank", [0, 1])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_stopped_run_goes_on_with_any_number_of_ranks(
    ranks: RankPool, tmp_path: Path, after: int, stopping_rank: int
) -> None:
    settings = small_settings()
    whole = ranks.run(share, settings, tmp_path / "whole", world_size=2)
    first = ranks.run(share, settings, tmp_path / "run", 5, stopping_rank, world_size=2)
    assert [rank["steps"] for rank in first] == [5, 5]
    second = ranks.run(share, settings, tmp_path / "run", world_size=after)
    visits = np.load(tmp_path / "run" / "visits.npy")
    everything = [s for part in (first, second) for epoch in range(settings.cost.epochs) for s in samples(part, epoch)]
    assert np.array_equal(visits, np.bincount(everything, minlength=len(visits)))
    stopped_in = first[0]["delivered"][-1][0]
    assert samples(first + second, stopped_in) == samples(whole, stopped_in)
    expected, found = outcome(tmp_path / "whole"), outcome(tmp_path / "run")
    assert found["visits"] == expected["visits"]
    assert found["optimizer_steps"] == expected["optimizer_steps"]
    assert [record["epoch"] for record in log(tmp_path / "run")] == [0, 1, 2, 3]
    if after == 2:
        assert found == expected
        assert log(tmp_path / "run") == log(tmp_path / "whole")
        assert all(second[0]["weights"][name].equal(whole[0]["weights"][name]) for name in whole[0]["weights"])


@pytest.mark.parametrize("stopping_rank", [0, 1])
def test_a_stop_before_the_first_rank_scores_is_obeyed_by_all(
    ranks: RankPool, tmp_path: Path, stopping_rank: int
) -> None:
    settings = small_settings()
    whole = ranks.run(share, settings, tmp_path / "whole", world_size=2)
    steps = log(tmp_path / "whole")[0]["steps"]
    first = ranks.run(share, settings, tmp_path / "run", steps, stopping_rank, world_size=2)
    assert [rank["steps"] for rank in first] == [steps, steps]
    assert not (tmp_path / "run" / "log.jsonl").exists()  # the epoch is trained, and not scored
    second = ranks.run(share, settings, tmp_path / "run", world_size=2)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    assert log(tmp_path / "run") == log(tmp_path / "whole")
    assert all(second[0]["weights"][name].equal(whole[0]["weights"][name]) for name in whole[0]["weights"])


def test_what_is_left_of_an_epoch_need_not_divide_among_other_ranks(ranks: RankPool, tmp_path: Path) -> None:
    settings = small_settings("full", train_size=162, epochs=2)
    first = ranks.run(share, settings, tmp_path, 5, world_size=2)
    second = ranks.run(share, settings, tmp_path, world_size=4)
    counts = [len(rank["delivered"]) for rank in second]
    assert len(set(counts)) == 1
    assert len({len(samples([rank], 0)) for rank in second}) > 1
    assert samples(first + second, 0) == list(range(162))
    assert RunFolder(tmp_path).result()["visits"] == np.load(tmp_path / "visits.npy").sum() == 162 + 160


def refuse(settings: Settings) -> str:
    """Return what a run is refused with."""
    with pytest.raises(ConfigError) as caught:
        training_of(settings)
    return str(caught.value)


def test_a_batch_that_ranks_cannot_share_is_refused(ranks: RankPool) -> None:
    for message in ranks.run(refuse, small_settings(), world_size=3):
        assert message == (
            "`batch_size` is that of all ranks together, and must be a multiple of their number, 3; got batch_size=16."
        )


def test_what_would_depend_on_the_number_of_ranks_is_refused(ranks: RankPool) -> None:
    for message in ranks.run(refuse, small_settings("emp", task="simclr-digits"), world_size=2):
        assert "must not compare samples on 2 ranks" in message


def torchrun(*arguments: object) -> Ended:
    """Be the program torchrun, which starts two processes as it always does."""
    return call_forked(launch, ["--nproc-per-node", "2", "-m", "emprune", *map(str, arguments)])


def launch(arguments: list[str]) -> None:
    from torch.distributed.run import main

    main(arguments)


@pytest.mark.slow
def test_the_command_under_torchrun_speaks_once(tmp_path: Path) -> None:
    small = ["--epochs", 3, "--train-size", 80, "--batch-size", 16, "--precision", "fp32", "--device", "cpu"]
    done = torchrun("run", "digits", *small, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("accuracy on test, last epoch") == 1
    assert [done.stderr.count(f"epoch {epoch}/3  kept") for epoch in (1, 2, 3)] == [1, 1, 1]
    refused = torchrun("run", "digits", *small, "--seed", 1, "--out", tmp_path / "run")
    assert refused.returncode != 0
    [line] = [line for line in refused.stderr.splitlines() if line.startswith("emprune: ")]
    assert "other settings" in line

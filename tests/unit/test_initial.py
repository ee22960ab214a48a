"""A run that starts from an earlier run's columns: what it takes over, what it decides by, and what it refuses."""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import emprune
from emprune.columns import BEFORE, Column
from emprune.errors import ConfigError, EpochError, StateError
from emprune.testing import SyntheticTask, assert_same_state, run_epochs, through_disk, train_epoch
from tests.messages import ANY, Raises
from tests.property.strategies import METHODS
from tests.unit.support import nan

N = 40
TASK, LATER = SyntheticTask(num_samples=N), SyntheticTask(num_samples=N, seed=1)
RUN: dict[str, Any] = {"num_samples": N, "num_epochs": 8, "keep": 0.3}


def pruner_of(method: emprune.Method | str = "emp", **options: Any) -> emprune.DataPruner:
    return emprune.DataPruner(method, **{**RUN, **options})


def finished(method: emprune.Method | str = "emp", *, stop: int | None = None, **options: Any) -> emprune.DataPruner:
    pruner = pruner_of(method, **options)
    run_epochs(pruner, TASK, multiple_of=1, stop=stop)
    pruner.sync()
    return pruner


@pytest.mark.parametrize("form", ["frame", "sorted frame", "path", "text", "state", "state on a disk", "loader's"])
def test_every_form_of_an_earlier_run_is_the_same_start(form: str, tmp_path: Path) -> None:
    earlier = finished()
    path = tmp_path / "samples.parquet"
    earlier.to_frame().to_parquet(path)
    loader = emprune.ArrayLoader((torch.arange(N),), earlier, batch_size=4)
    initial: Any = {
        "frame": earlier.to_frame(),
        "sorted frame": earlier.to_frame().sort_values("loss"),
        "path": path,
        "text": str(path),
        "state": earlier.state_dict(),
        "state on a disk": through_disk(earlier.state_dict()),
        "loader's": loader.state_dict(),
    }[form]
    pruner = pruner_of(seed=1, initial=initial)
    for name in ("loss", "memory"):
        assert pruner.stats[name].equal(earlier.stats[name])
    assert bool(pruner.stats.seen.all())
    assert pruner.stats["last_visit"].tolist() == [BEFORE] * N
    for name in ("visits", "failures"):
        assert not bool(pruner.stats[name].any())


@pytest.mark.parametrize("name", sorted(METHODS))
def test_any_method_starts_from_a_run_of_its_own_at_the_exact_cost(name: str) -> None:
    method = METHODS[name](N)
    earlier = finished(method)
    pruner = pruner_of(method, seed=1, initial=earlier.state_dict())
    if method.needs_gap:
        pruner.observe_validation(**TASK.validation(epoch=0))
    pruner.begin_epoch(0)
    assert pruner.scores is None or bool(pruner.scores.isfinite().all())
    train_epoch(pruner, LATER)
    run_epochs(pruner, LATER, multiple_of=1)
    pruner.sync()
    assert int(pruner.visits.sum()) == sum(record["num_kept"] for record in pruner.history) == 96


def test_greedy_starts_with_the_highest_losses() -> None:
    earlier = finished("greedy")
    plan = pruner_of("greedy", initial=earlier.to_frame()).begin_epoch(0)
    assert sorted(plan.index.tolist()) == sorted(earlier.stats["loss"].topk(12).indices.tolist())


def test_random_permutation_walks_its_own_permutation() -> None:
    """The earlier run's visits would make it go on with the earlier run's."""
    pruner = pruner_of("random-permutation", keep=0.25, initial=finished("random-permutation", keep=0.4).state_dict())
    visited = torch.cat([plan.index for plan in run_epochs(pruner, TASK, multiple_of=1, stop=4)])
    assert sorted(visited.tolist()) == list(range(N))


def test_a_running_mean_goes_on_from_the_earlier_one() -> None:
    method = emprune.methods.EpsilonGreedy(alpha=0.5)
    earlier = finished(method)
    pruner = pruner_of(method, initial=earlier.state_dict())
    index = pruner.begin_epoch(0).index
    losses, _ = LATER.batch(index, epoch=0)
    pruner.observe(index, losses)
    pruner.sync()
    torch.testing.assert_close(pruner.stats["mean"][index], (earlier.stats["mean"][index] + losses) / 2)


def test_samples_that_were_never_seen_come_first() -> None:
    earlier = finished("greedy", stop=2)
    unseen = (~earlier.stats.seen).nonzero().flatten().tolist()
    pruner = pruner_of("greedy", keep=0.5, initial=earlier.to_frame())
    assert len(unseen) == 16
    assert set(unseen) <= set(pruner.begin_epoch(0).index.tolist())
    assert pruner.stats["loss"][unseen].isnan().all()


def test_a_table_of_losses_measured_elsewhere_will_do() -> None:
    losses = torch.rand(N)
    frame = pd.DataFrame({"loss": losses.numpy(), "note": "of an evaluation"})
    plan = pruner_of("greedy", initial=frame).begin_epoch(0)
    assert sorted(plan.index.tolist()) == sorted(losses.topk(12).indices.tolist())


@pytest.mark.parametrize("name", ["emp", "ucb", "emp-gap"])
def test_a_resumed_run_is_bit_equal_and_is_not_given_the_columns_again(name: str) -> None:
    method = METHODS[name](N)
    earlier = finished(method).state_dict()

    def new(**options: Any) -> emprune.DataPruner:
        return pruner_of(method, seed=1, **options)

    whole = new(initial=earlier)
    whole.observe_validation(**LATER.validation(epoch=0))
    plans = [whole.begin_epoch(0)]
    before_any = through_disk(whole.state_dict())
    train_epoch(whole, LATER, stop=8)
    saved = through_disk(whole.state_dict())
    train_epoch(whole, LATER, start=8)
    plans += run_epochs(whole, LATER, multiple_of=1)
    for state, start, options in itertools.chain(
        ((before_any, 0, options) for options in ({}, {"initial": earlier})),
        (
            (saved, 8, options)
            for options in ({}, {"initial": earlier}, {"initial": finished(method, seed=9).to_frame()})
        ),
    ):
        resumed = new(**options)
        resumed.load_state_dict(state)
        assert resumed.plan == plans[0]
        train_epoch(resumed, LATER, start=start)
        assert run_epochs(resumed, LATER, multiple_of=1) == plans[1:]
        assert_same_state(resumed.state_dict(), whole.state_dict())


def test_a_state_saved_before_the_first_epoch_holds_the_start() -> None:
    earlier = finished()
    fresh = pruner_of(initial=earlier.to_frame())
    resumed = pruner_of()
    resumed.load_state_dict(through_disk(fresh.state_dict()))
    assert run_epochs(resumed, TASK) == run_epochs(fresh, TASK)


def test_what_it_starts_from_is_not_changed() -> None:
    state, frame = finished().state_dict(), finished().to_frame()
    copied, copied_frame = through_disk(state), frame.copy(deep=True)
    for initial in (state, frame):
        run_epochs(pruner_of(initial=initial), LATER)
    assert_same_state(state, copied)
    pd.testing.assert_frame_equal(frame, copied_frame)


def test_a_loader_takes_it_too_and_refuses_it_beside_a_pruner(raises: Raises) -> None:
    earlier = finished("greedy", data_key="mine")
    dataloader = DataLoader(TensorDataset(torch.arange(N)), batch_size=4, shuffle=True)
    budget: dict[str, Any] = {"num_epochs": 8, "keep": 0.3}
    loader = emprune.PrunedLoader(dataloader, "greedy", initial=earlier.to_frame(), data_key="mine", **budget)
    loader.set_epoch(0)
    assert sorted(loader.pruner.plan.index.tolist()) == sorted(earlier.stats["loss"].topk(12).indices.tolist())
    assert loader.pruner.data_key == "mine"
    with raises(ConfigError, parameter="data_key", value="mine"):
        emprune.PrunedLoader(dataloader, pruner_of(), data_key="mine")
    with pytest.raises(ConfigError, match="`initial` must be given to the DataPruner"):
        emprune.PrunedLoader(dataloader, pruner_of(), initial=earlier.to_frame())


def test_the_summary_before_and_after_the_first_epoch() -> None:
    pruner = pruner_of(initial=finished().to_frame())
    assert "none visited" in str(pruner.summary())
    assert pruner.mean_loss == pytest.approx(float(pruner.stats["loss"].mean()))
    for epoch in range(2):
        pruner.observe_validation(**TASK.validation(epoch=epoch))
        plan = pruner.begin_epoch(epoch)
        train_epoch(pruner, TASK)
        staleness = pruner.summary().staleness
        assert staleness == (1 if epoch == 0 else pytest.approx((len(plan) * 1 + (N - len(plan)) * 2) / N))
    assert pruner.summary().never_seen == 0


def test_a_sample_that_fails_is_forgotten_as_any_other() -> None:
    pruner = pruner_of("greedy", nonfinite="revisit", initial=finished("greedy").to_frame())
    index = pruner.begin_epoch(0).index
    pruner.observe(index, torch.full((12,), nan))
    assert set(index.tolist()) <= set(pruner.begin_epoch(1).index.tolist())


def test_a_method_that_follows_the_gap_must_know_one_before_the_first_epoch(raises: Raises) -> None:
    method = emprune.EMP(pool="gap")
    pruner = pruner_of(method, initial=finished(method).state_dict())
    with raises(EpochError, parameter="initial", value=0):
        pruner.begin_epoch(0)


def test_the_key_of_the_data_goes_with_states_frames_and_files(tmp_path: Path, raises: Raises) -> None:
    earlier = finished(data_key="v1")
    path = tmp_path / "samples.parquet"
    earlier.to_frame().to_parquet(path)
    for initial in (earlier.to_frame(), earlier.state_dict(), path):
        for key in ("v1", None):  # who has no key does not ask for one
            assert bool(pruner_of(initial=initial, data_key=key).stats.seen.all())
        with raises(ConfigError, parameter="initial", value="v2"):
            pruner_of(initial=initial, data_key="v2")
    with raises(ConfigError, parameter="initial", value=None):
        pruner_of(initial=finished().to_frame(), data_key="v1")
    with raises(StateError, parameter="data_key", value="v1"):
        pruner_of(data_key="v2").load_state_dict(earlier.state_dict())
    pruner_of(data_key="v1").load_state_dict(earlier.state_dict())
    assert "data_key" not in finished().to_frame().attrs


@pytest.mark.parametrize("key", [1, "", b"v1"])
def test_what_is_no_key_is_refused(key: Any, raises: Raises) -> None:
    with raises(ConfigError, parameter="data_key", value=key):
        pruner_of(data_key=key)


def _frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"loss": torch.rand(N).numpy(), "memory": torch.rand(N).numpy()}).assign(**columns)


def _state(**columns: Any) -> dict[str, Any]:
    state = finished().state_dict()
    return {**state, "columns": {**state["columns"], **columns}}


@pytest.mark.parametrize(
    ("initial", "value"),
    [
        (lambda: finished("greedy").to_frame(), "memory"),
        (lambda: finished("greedy").state_dict(), "memory"),
        (lambda: pd.DataFrame({"visits": [1] * N}), "loss, memory"),
        (lambda: _frame().head(39), 39),
        (lambda: _state(loss=torch.rand(39)), 39),
        (lambda: _frame().set_index(torch.arange(1, N + 1).numpy()), ANY),
        (lambda: _frame().set_index(torch.zeros(N, dtype=torch.int64).numpy()), ANY),
        (lambda: _frame().set_index(pd.Index([f"{i}.png" for i in range(N)])), ANY),
        (lambda: _frame(memory="high"), "memory"),
        (lambda: _frame(loss=["high"] * N), "loss"),
        (lambda: _frame(memory=[nan, *range(1, N)]), 1),
        (lambda: _frame(loss=[float("inf"), 1e300, *range(2, N)]), 2),
        (lambda: _frame(loss=nan), ANY),
        (lambda: _frame(loss=0.0), 0),
        (lambda: _state(loss=torch.rand(N, 2)), "loss"),
        (lambda: _state(loss=torch.rand(N).to_sparse()), "loss"),
        (lambda: _state(loss=list(range(N))), "loss"),
        (lambda: {"model": {}}, "['model']"),
        (lambda: {"pruner": 3}, "['pruner']"),
        (lambda: 3, "int"),
        (lambda: [1.0] * N, "list"),
    ],
    ids=[
        "frame without memory",
        "state without memory",
        "no loss",
        "too few rows",
        "too short",
        "index from 1",
        "index repeats",
        "index of names",
        "words",
        "loss of words",
        "memory unknown",
        "infinite losses",
        "no losses",
        "zeros",
        "two losses each",
        "sparse",
        "a list for a column",
        "a model's state",
        "no pruner's state",
        "a number",
        "a list",
    ],
)
def test_what_is_no_start_for_this_run_is_refused(initial: Any, value: Any, raises: Raises) -> None:
    with raises(ConfigError, parameter="initial", value=value):
        pruner_of(initial=initial())


@dataclass(frozen=True)
class Boxes(emprune.Method):
    """Remembers in which box a sample is."""

    name: ClassVar[str] = "boxes"
    columns: ClassVar[tuple[Column, ...]] = (Column("box", "its box", torch.int8, -1),)

    def measure(self, losses: Tensor, outputs: Any) -> dict[str, Tensor]:
        return {"box": losses.round()}

    def score(self, stats: emprune.methods.SampleStats) -> Tensor:
        return stats["box"].float()

    def select(self, context: emprune.methods.SelectionContext) -> emprune.methods.Selection:
        return emprune.methods.Selection(context.seen.nonzero().squeeze(1)[: context.num_kept])


def test_a_column_of_integers_takes_integers_alone(raises: Raises) -> None:
    losses = [nan, *[1.0] * (N - 1)]
    frame = pd.DataFrame({"loss": losses, "box": [nan, *[float(i) for i in range(1, N)]]})
    assert pruner_of(Boxes(), initial=frame).stats["box"].tolist() == [-1, *range(1, N)]
    for wrong in (0.5, 200.0):
        with raises(ConfigError, parameter="initial", value=1):
            pruner_of(Boxes(), initial=frame.assign(box=[0, wrong, *range(2, N)]))


@pytest.mark.parametrize("content", [None, b"no table"], ids=["none", "of another kind"])
def test_a_file_that_is_none_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="`initial` must be .* Parquet file.*samples.parquet") as caught:
        pruner_of(initial=path)
    assert caught.value.parameter == "initial"
    with pytest.raises(ConfigError, match="which is no file"):
        pruner_of(initial=tmp_path)


def test_without_pandas_a_state_will_do_and_a_path_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = finished().state_dict()
    path = tmp_path / "samples.parquet"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert bool(pruner_of(initial=state).stats.seen.all())
    with pytest.raises(ImportError, match="pip install pandas pyarrow"):
        pruner_of(initial=path)

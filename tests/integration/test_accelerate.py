"""emprune in an accelerated loop: what accelerate takes from its own loaders, and none of what it does to them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler
from torchdata.stateful_dataloader import StatefulDataLoader

import emprune
from emprune.errors import EmpruneWarning
from emprune.testing import LoaderContract, assert_same_state
from tests.data.datasets import Positions
from tests.integration import runs

accelerate = pytest.importorskip("accelerate")

from accelerate import Accelerator  # noqa: E402 - where it is installed
from accelerate.utils import GradientAccumulationPlugin, find_executable_batch_size  # noqa: E402

from emprune.integrations.accelerate import AcceleratedLoader, AcceleratedStream, prepare  # noqa: E402
from tests.integration.accelerated import Run, forget, make_accelerator  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("fresh_accelerate"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata calls it
]


class Epochs(Positions):
    """A dataset that is told the epoch."""

    epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


METHODS = {"emp": emprune.EMP(), "infobatch": emprune.InfoBatch(), "random": emprune.Random()}


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_it_ends_like_the_plain_loop(method: emprune.Method, accumulation: int) -> None:
    """The steps, short last windows included, the learning rate, and every bit of the weights."""
    run = Run(make_accelerator(gradient_accumulation_steps=accumulation), runs.make_pruner(method))
    result = run.finish()
    runs.assert_same_run(result, runs.plain_run(runs.make_pruner(method), accumulation=accumulation))
    assert result.delivered == result.plans
    assert result.num_steps == run.loader.total_steps
    assert result.learning_rate == pytest.approx(0.002)


def test_full_is_accelerate_as_it_is() -> None:
    """`Full` trains what accelerate's own loader does, given the same order."""
    result = Run(make_accelerator(gradient_accumulation_steps=3), runs.make_pruner(emprune.Full(), keep=1)).finish()
    forget()
    accelerator, model = make_accelerator(gradient_accumulation_steps=3), runs.make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    scheduler = runs.make_scheduler(optimizer, result.num_steps)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    num_steps = 0
    for order in result.plans:
        sampler = torch.utils.data.BatchSampler(order, runs.BATCH_SIZE, drop_last=False)
        for _, x, y in accelerator.prepare(DataLoader(runs.DATASET, batch_sampler=sampler)):
            with accelerator.accumulate(model):
                accelerator.backward(torch.nn.functional.cross_entropy(model(x), y))
                optimizer.step()
                if accelerator.sync_gradients:
                    scheduler.step()
                    num_steps += 1
                optimizer.zero_grad()
    assert num_steps == result.num_steps
    assert all(map(torch.equal, model.parameters(), result.weights))


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"num_workers": 2, "in_order": False}], ids=str)
def test_every_loss_is_credited_to_its_own_sample(options: dict[str, Any]) -> None:
    pruner = runs.make_pruner(emprune.Greedy())
    Run(make_accelerator(), pruner, runs.make_dataloader(**options), identify=True).finish()
    runs.assert_every_loss_is_its_own(pruner)
    assert int(pruner.visits.sum()) == sum(epoch["num_kept"] for epoch in pruner.history)


@pytest.mark.parametrize("cls", [DataLoader, StatefulDataLoader])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_resumed_run_ends_like_the_uninterrupted_one(tmp_path: Path, accumulation: int, cls: type) -> None:
    def fresh() -> Run:
        forget()
        accelerator = make_accelerator(gradient_accumulation_steps=accumulation)
        return Run(accelerator, runs.make_pruner(emprune.methods.UCB()), cls(runs.DATASET, batch_size=runs.BATCH_SIZE))

    whole = fresh()
    expected = whole.finish()
    num_batches = sum(-(-len(epoch) // runs.BATCH_SIZE) for epoch in expected.delivered)
    for stop_after in range(3, num_batches + 1, 3):
        first = fresh()
        part = first.finish(stop_after=stop_after)
        if not first.accelerator.sync_gradients:
            continue  # accelerate does not save gradients that are not stepped yet
        first.accelerator.save_state(str(tmp_path / str(stop_after)))
        second = fresh()
        second.accelerator.load_state(str(tmp_path / str(stop_after)))
        rest = second.finish()
        assert part.samples + rest.samples == expected.samples
        assert part.num_steps + rest.num_steps == expected.num_steps
        assert rest.learning_rate == expected.learning_rate
        assert all(map(torch.equal, rest.weights, expected.weights))
        whole.pruner.sync()
        second.pruner.sync()
        assert_same_state(second.pruner.state_dict(), whole.pruner.state_dict())


def test_a_loss_of_the_last_epoch_that_is_not_finite_is_a_warning_and_the_model_is_saved(tmp_path: Path) -> None:
    accelerator = make_accelerator()
    loader = prepare(accelerator, runs.make_dataloader(), emprune.Greedy(), num_epochs=2, keep=0.5)
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        for index, _ in loader:
            loader.reduce(index, index.float() if epoch == 0 else index.float() / 0)
    with pytest.warns(EmpruneWarning, match="Losses .* must be finite"):
        accelerator.save_state(str(tmp_path))
    assert (tmp_path / "custom_checkpoint_0.pkl").exists()


def test_a_state_of_another_object_names_the_order_of_registration() -> None:
    run = Run(make_accelerator(), runs.make_pruner())
    with pytest.raises(
        emprune.errors.StateError, match=r"got the keys \['a'\]\. Register objects for checkpointing in the"
    ):
        run.accelerator._custom_objects[0].load_state_dict({"a": 1})


def test_a_plain_loop_goes_on_from_the_registered_state(tmp_path: Path) -> None:
    first = Run(make_accelerator(), runs.make_pruner())
    part = first.finish(stop_after=8)
    first.accelerator.save_state(str(tmp_path))
    loader = emprune.PrunedLoader(runs.make_dataloader(), runs.make_pruner())
    loader.load_state_dict(torch.load(tmp_path / "custom_checkpoint_0.pkl", weights_only=True))
    assert loader.start_epoch == len(part.delivered) - 1
    assert loader.num_delivered == len(part.delivered[-1])


def test_a_method_and_its_budget_are_taken_as_a_plain_loader_takes_them() -> None:
    budget: Any = {"num_epochs": 4, "keep": 0.7, "warmup_epochs": 1, "tail_epochs": 1, "seed": 3, "nonfinite": "skip"}
    loader = prepare(make_accelerator(gradient_accumulation_steps=2), runs.make_dataloader(), "greedy", **budget)
    plain = emprune.PrunedLoader(runs.make_dataloader(), "greedy", accumulation=2, **budget)
    assert repr(loader.pruner) == repr(plain.pruner)
    assert loader.total_steps == plain.total_steps
    steps = prepare(make_accelerator(), runs.make_dataloader(), emprune.Random(), num_steps=30, keep=0.5)
    assert steps.total_steps == 30


def test_preparing_again_with_another_batch_size_replaces_what_is_saved(tmp_path: Path) -> None:
    """`find_executable_batch_size` calls the whole training function again."""
    accelerator, tried = make_accelerator(), []

    def train(batch_size: int) -> AcceleratedLoader | AcceleratedStream:
        tried.append(batch_size)
        accelerator.free_memory()
        dataloader = runs.make_dataloader(batch_size=batch_size)
        loader = prepare(accelerator, dataloader, emprune.Greedy(), num_epochs=2, keep=0.5)
        for _ in loader.epochs():
            for index, (position, _, _) in loader:
                if batch_size == 8:
                    raise RuntimeError("CUDA out of memory.")
                loader.reduce(index, runs.identifying(position))
        return loader

    loader = find_executable_batch_size(train, starting_batch_size=8, reduce_batch_size_fn=lambda: 4)()
    assert tried == [8, 4]
    accelerator.save_state(str(tmp_path))
    assert len(list(tmp_path.glob("custom_checkpoint_*"))) == 1
    saved = torch.load(tmp_path / "custom_checkpoint_0.pkl", weights_only=True)
    assert_same_state(saved, loader.state_dict())


def test_two_loaders_are_both_saved(tmp_path: Path) -> None:
    accelerator = make_accelerator()
    prepare(accelerator, runs.make_dataloader(), emprune.Random(), num_epochs=2, keep=0.5)
    prepare(accelerator, DataLoader(Positions(20), batch_size=4), emprune.Random(), num_epochs=2, keep=0.5)
    accelerator.save_state(str(tmp_path))
    assert len(list(tmp_path.glob("custom_checkpoint_*"))) == 2


def test_skipping_first_batches_is_refused() -> None:
    accelerator = make_accelerator()
    loader = prepare(accelerator, runs.make_dataloader(), runs.make_pruner())
    loader.set_epoch(0)
    with pytest.raises(
        AttributeError, match="skip_first_batches must not be called, since the loader goes on by itself"
    ):
        accelerator.skip_first_batches(loader, 2)


def test_the_epoch_reaches_the_dataset() -> None:
    dataset = Epochs(20)
    loader = prepare(make_accelerator(), DataLoader(dataset, batch_size=4), emprune.Random(), num_epochs=3, keep=0.5)
    assert [dataset.epoch for _ in loader.epochs()] == [0, 1, 2]


def test_batches_are_placed_on_the_device_and_the_index_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = make_accelerator()
    monkeypatch.setattr(accelerator.state, "device", torch.device("meta"))  # a device every machine has
    loader = prepare(accelerator, runs.make_dataloader(), runs.make_pruner())
    loader.set_epoch(0)
    for index, batch in loader:
        assert index.device.type == "cpu"
        assert {part.device.type for part in batch} == {"meta"}


def test_nothing_is_moved_where_accelerate_shall_not() -> None:
    accelerator = Accelerator(cpu=True, device_placement=False)
    loader = prepare(accelerator, runs.make_dataloader(), runs.make_pruner())
    loader.set_epoch(0)
    assert all(part.device.type == "cpu" for _, batch in loader for part in batch)


def test_mixed_precision() -> None:
    pruner = runs.make_pruner()
    run = Run(make_accelerator(mixed_precision="bf16"), pruner)
    result = run.finish()
    pruner.sync()
    assert result.num_steps == run.loader.total_steps
    assert pruner.stats["loss"].isfinite().all()
    exact = runs.make_pruner()
    runs.plain_run(exact)
    exact.sync()
    assert not pruner.stats["loss"].equal(exact.stats["loss"])


def test_accelerate_knows_the_last_batch_before_the_loop_does() -> None:
    accelerator = make_accelerator()
    loader = prepare(accelerator, runs.make_dataloader(), runs.make_pruner(emprune.Random()))
    state = accelerator.gradient_state
    for epoch in range(runs.NUM_EPOCHS):
        loader.set_epoch(epoch)
        assert not state.in_dataloader
        flags = [state.end_of_dataloader for _ in loader]
        assert flags == [False] * (len(loader) - 1) + [True]
        assert not state.in_dataloader


def test_an_evaluation_or_another_pass_within_an_epoch_does_not_hide_its_end() -> None:
    accelerator = make_accelerator()
    loader = prepare(accelerator, runs.make_dataloader(), runs.make_pruner(emprune.Random()))
    other = prepare(accelerator, DataLoader(Positions(20), batch_size=4), emprune.Full(), num_epochs=1)
    evaluation = accelerator.prepare(runs.make_dataloader(shuffle=False))
    loader.set_epoch(0)
    other.set_epoch(0)
    flags = []
    for _ in loader:
        loader.peek()
        assert len(list(other)) == 5
        assert len(list(evaluation)) == 13
        flags.append(accelerator.gradient_state.end_of_dataloader)
    assert flags == [False] * (len(loader) - 1) + [True]


def test_a_loop_that_is_broken_off_leaves_nothing_behind() -> None:
    accelerator = make_accelerator()
    loader = prepare(accelerator, runs.make_dataloader(), runs.make_pruner(emprune.Random()))
    loader.set_epoch(0)
    for _ in range(3):
        for _ in loader:
            break
        assert not accelerator.gradient_state.in_dataloader
    before = loader.state_dict()
    held = iter(loader)
    next(held)
    assert accelerator.gradient_state.in_dataloader
    assert sum(known is not None for known in accelerator.gradient_state.dataloader_references) == 1
    after = loader.state_dict()
    del held
    assert not accelerator.gradient_state.in_dataloader
    assert_same_state(loader.state_dict(), after)
    assert before["delivery"] == after["delivery"]


def test_a_window_at_the_end_of_an_epoch_is_stepped_after_a_loop_was_broken_off() -> None:
    accelerator = make_accelerator(gradient_accumulation_steps=3)
    model = torch.nn.Linear(1, 1)
    loader = prepare(accelerator, runs.make_dataloader(), emprune.Full(), num_epochs=2)
    steps = 0
    for _ in loader.epochs():
        for _ in loader:
            break
        accelerator.step = 0
        for _ in loader:
            with accelerator.accumulate(model):
                steps += accelerator.sync_gradients
    assert steps == loader.total_steps == 2 * 5


def test_gathering_metrics_drops_nothing() -> None:
    accelerator = make_accelerator()
    loader = prepare(accelerator, runs.make_dataloader(), runs.make_pruner(emprune.Full(), keep=1))
    loader.set_epoch(0)
    gathered = torch.cat([accelerator.gather_for_metrics(index) for index, _ in loader])
    assert gathered.sort().values.equal(torch.arange(runs.NUM_SAMPLES))


def test_accelerate_leaves_a_plain_pruned_loader_as_it_is() -> None:
    loader = emprune.PrunedLoader(runs.make_dataloader(), runs.make_pruner())
    assert make_accelerator().prepare(loader) is loader


def test_preparing_it_once_more_changes_nothing() -> None:
    accelerator = make_accelerator()
    loader = prepare(accelerator, runs.make_dataloader(), runs.make_pruner())
    assert accelerator.prepare(loader) is loader


def _prepared(**options: Any) -> None:
    prepare(make_accelerator(**options), runs.make_dataloader(), runs.make_pruner())


def _prepared_twice(kind: str) -> None:
    accelerator, pruner = make_accelerator(), runs.make_pruner()
    pruned = emprune.PrunedLoader(runs.make_dataloader(), pruner)
    loaders: dict[str, Any] = {
        "pruned": pruned,
        "inside": pruned.loader,
        "accelerated": accelerator.prepare(runs.make_dataloader()),
        "ours": prepare(accelerator, runs.make_dataloader(), pruner),
    }
    prepare(accelerator, loaders[kind], pruner)


REFUSED = {
    "a pruned loader": (lambda: _prepared_twice("pruned"), r"got a PrunedLoader\. Hand over the one it"),
    "the loader inside": (lambda: _prepared_twice("inside"), r"got the one inside a PrunedLoader\. Hand over the one"),
    "accelerate's own": (lambda: _prepared_twice("accelerated"), r"got accelerate's DataLoaderShard\. Hand over"),
    "prepared before": (lambda: _prepared_twice("ours"), r"got a AcceleratedLoader\. Hand over the one"),
    "a sampler for others": (
        lambda: prepare(
            make_accelerator(),
            runs.make_dataloader(shuffle=False, sampler=DistributedSampler(runs.DATASET, num_replicas=2, rank=0)),
            runs.make_pruner(),
        ),
        r"DistributedSampler must be for the pruner's 1 rank\(s\); got 2",
    ),
    "split batches": (
        lambda: _prepared(dataloader_config=accelerate.DataLoaderConfiguration(split_batches=True)),
        r"`split_batches` must be False: .* got True",
    ),
    "dispatched batches": (
        lambda: _prepared(dataloader_config=accelerate.DataLoaderConfiguration(dispatch_batches=True)),
        r"`dispatch_batches` must be False: .* got True",
    ),
    "a seed of the order": (
        lambda: _prepared(dataloader_config=accelerate.DataLoaderConfiguration(data_seed=3)),
        r"`data_seed` must be None: .* got 3",
    ),
    "windows across epochs": (
        lambda: _prepared(gradient_accumulation_plugin=GradientAccumulationPlugin(2, sync_with_dataloader=False)),
        r"`sync_with_dataloader` must be True, .* got False",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(make: Any, message: str) -> None:
    with pytest.raises(emprune.ConfigError, match=message):
        make()


def test_processes_that_share_a_model_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = make_accelerator()
    monkeypatch.setattr(accelerator.state, "parallelism_config", object())
    with pytest.raises(emprune.ConfigError, match=r"`parallelism_config` must be None: .* got <object"):
        prepare(accelerator, runs.make_dataloader(), runs.make_pruner())


def test_a_pruner_for_fewer_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = make_accelerator()
    monkeypatch.setattr(accelerator.state, "num_processes", 2)
    with pytest.raises(emprune.ConfigError, match=r"among all 2 process\(es\); got a pruner for 1\. Make"):
        prepare(accelerator, runs.make_dataloader(), runs.make_pruner())


@pytest.mark.distributed
def test_two_processes_share_the_plan_and_resume(tmp_path: Path) -> None:
    accelerate.debug_launcher(_train_on_two, args=(tmp_path,), num_processes=2)
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert one["plans"] == other["plans"]
    for plan, mine, yours in zip(one["plans"], one["delivered"], other["delivered"], strict=True):
        assert (mine, yours) == (plan[0::2], plan[1::2])
    assert one["num_steps"] == other["num_steps"] == one["total_steps"]
    assert one["learning_rate"] == other["learning_rate"] == pytest.approx(0.002)
    assert one["weights"] == other["weights"]
    for report in (one, other):
        assert report["part"] + report["rest"] == runs.flat(report["delivered"])
        assert report["resumed_weights"] == report["weights"]


def _train_on_two(folder: Path) -> None:
    """What one of the processes does: a whole run, and one that is stopped, saved and resumed."""
    torch.set_num_threads(1)

    def fresh() -> Run:
        forget(processes=False)
        return Run(make_accelerator(gradient_accumulation_steps=2), runs.make_pruner(emprune.Greedy()), identify=True)

    whole = fresh()
    result = whole.finish()
    runs.assert_every_loss_is_its_own(whole.pruner)
    first = fresh()
    part = first.finish(stop_after=6)
    first.accelerator.save_state(str(folder / "state"))
    whole.accelerator.wait_for_everyone()
    second = fresh()
    second.accelerator.load_state(str(folder / "state"))
    rest = second.finish()
    report = {
        "plans": result.plans,
        "delivered": result.delivered,
        "num_steps": result.num_steps,
        "total_steps": whole.loader.total_steps,
        "learning_rate": result.learning_rate,
        "weights": [weights.tolist() for weights in result.weights],
        "part": part.samples,
        "rest": rest.samples,
        "resumed_weights": [weights.tolist() for weights in rest.weights],
    }
    (folder / f"{whole.accelerator.process_index}.json").write_text(json.dumps(report))


class TestAcceleratedLoader(LoaderContract):
    """It keeps to what every loader does."""

    def make_loader(
        self, pruner: emprune.DataPruner, *, accumulation: int = 1
    ) -> AcceleratedLoader | AcceleratedStream:
        forget()
        dataloader = DataLoader(Positions(pruner.num_samples), batch_size=self.batch_size)
        return prepare(make_accelerator(gradient_accumulation_steps=accumulation), dataloader, pruner)

    def positions(self, batch: torch.Tensor) -> torch.Tensor:
        return batch

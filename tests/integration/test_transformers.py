"""The real Trainer, on the CPU, trains on exactly the plan and credits every loss to its own sample."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

import emprune

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from transformers import (
    BartConfig,
    BartForCausalLM,
    BertConfig,
    BertForMaskedLM,
    BertForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    TrainerCallback,
    XLNetConfig,
    XLNetLMHeadModel,
    default_data_collator,
)

from emprune.data.indexed import KeptSamples
from emprune.errors import EmpruneWarning
from emprune.integrations.trainer_setup import predicts_next
from emprune.integrations.transformers import INDEX_KEY, PrunedTrainer
from emprune.losses import next_labels
from emprune.testing import assert_same_state
from tests.integration.trainers import (
    NUM_SAMPLES,
    InOrder,
    OwnLoss,
    PrunedOwnLoss,
    Recorder,
    RecordingTrainer,
    Sentences,
    assert_same_weights,
    history,
    make_arguments,
    make_model,
    make_pruner,
    make_trainer,
)

METHODS = [emprune.EMP(beta=4.0, pool=2), emprune.methods.UCB(), emprune.InfoBatch(), emprune.RandomPermutation()]


@pytest.mark.parametrize("accumulation", [1, 2, 3])
@pytest.mark.parametrize("keep", [0.3, 0.6])
def test_a_run_has_the_planned_steps_and_its_schedule_ends_with_it(
    tmp_path: Path, accumulation: int, keep: float
) -> None:
    recorder = Recorder()
    pruner = make_pruner(keep=keep, num_epochs=7, tail_epochs=1)
    trainer = make_trainer(
        tmp_path,
        pruner,
        gradient_accumulation_steps=accumulation,
        lr_scheduler_type="linear",
        eval_strategy="epoch",
        logging_strategy="epoch",
        callbacks=[recorder],
    )
    trainer.train()
    batches = [-(-len(planned) // 4) for planned in trainer.planned.values()]
    assert len(batches) == 7
    assert len(set(batches)) > 1
    steps = sum(-(-number // accumulation) for number in batches)
    assert trainer.state.global_step == trainer.state.max_steps == recorder.num_steps == steps
    assert trainer.lr_scheduler.last_epoch == steps
    assert trainer.lr_scheduler.get_last_lr() == [0.0, 0.0]
    assert recorder.num_evaluations == 7
    assert trainer.state.epoch == 7
    assert trainer.delivered == trainer.planned
    visits = sum(map(len, trainer.planned.values()))
    assert int(pruner.visits.sum()) == visits
    assert abs(visits - keep * NUM_SAMPLES * 7) <= 4 * accumulation


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("task", ["sequence", "token", "causal"])
def test_every_loss_and_memory_is_its_own_samples(tmp_path: Path, task: str, workers: int) -> None:
    pruner = make_pruner()
    options: dict[str, Any] = {"dataloader_num_workers": workers, "dataloader_persistent_workers": workers > 0}
    trainer = make_trainer(tmp_path, pruner, task=task, learning_rate=0.0, gradient_accumulation_steps=2, **options)
    trainer.train()
    pruner.sync()
    losses, memory = what_each_costs(trainer)
    assert losses.diff().abs().min() > 1e-5  # they tell the samples apart
    seen = pruner.stats.seen
    assert int(seen.count_nonzero()) >= NUM_SAMPLES - 1
    torch.testing.assert_close(pruner.stats["loss"][seen], losses[seen], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pruner.stats["memory"][seen], memory[seen], rtol=1e-5, atol=1e-5)


class Table(Sentences):
    """Fetches a batch at a time, as a `datasets.Dataset` does."""

    def __getitem__(self, position: int) -> Any:
        raise AssertionError("one at a time")

    def __getitems__(self, positions: list[int]) -> list[dict[str, Any]]:
        return [super(Table, self).__getitem__(position) for position in positions]


@pytest.mark.parametrize("keep_columns", [False, True])
def test_a_dataset_that_fetches_batches_is_asked_for_them(tmp_path: Path, keep_columns: bool) -> None:
    def without_note(samples: list[dict[str, Any]]) -> dict[str, Any]:
        assert all(("note" in sample) == keep_columns for sample in samples)
        batch: dict[str, Any] = default_data_collator([{**sample, "note": None} for sample in samples])
        return batch

    arguments = make_arguments(tmp_path, remove_unused_columns=not keep_columns)
    pruner = make_pruner()
    trainer = RecordingTrainer(
        make_model(), arguments, train_dataset=Table(), data_collator=without_note, pruner=pruner
    )
    trainer.train()
    assert trainer.delivered == trainer.planned


def what_each_costs(trainer: Any) -> tuple[Tensor, Tensor]:
    """Each sample's loss and entropy, one sample at a time and its padding cut off."""
    losses, memory = [], []
    trainer.model.eval()
    for position in range(NUM_SAMPLES):
        sample = trainer.train_dataset[position]
        length = int(sample["attention_mask"].sum())
        with torch.no_grad():
            logits = trainer.model(sample["input_ids"][None, :length]).logits[0]
        labels = torch.as_tensor(sample["labels"])
        labels = labels[:length] if labels.ndim else labels
        if trainer.train_dataset.task == "causal":
            logits, labels = logits[:-1], labels[1:]
        losses.append(F.cross_entropy(logits, labels))
        memory.append(torch.distributions.Categorical(logits=logits).entropy().mean())
    return torch.stack(losses), torch.stack(memory)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize(("task", "smoothing"), [("sequence", 0.0), ("token", 0.0), ("causal", 0.0), ("causal", 0.2)])
def test_full_is_the_vanilla_trainer(tmp_path: Path, task: str, smoothing: float, accumulation: int) -> None:
    options: dict[str, Any] = {"gradient_accumulation_steps": accumulation, "num_train_epochs": 2}
    options["label_smoothing_factor"] = smoothing
    pruner = make_pruner(emprune.Full(), num_epochs=2, keep=1, tail_epochs=0)
    ours = make_trainer(tmp_path, pruner, task=task, dropout=0.1, **options)
    ours.train()
    theirs = InOrder(
        make_model(task, dropout=0.1),
        make_arguments(tmp_path, **options),
        train_dataset=Sentences(task),
        orders=[torch.tensor(order) for order in ours.delivered.values()],
    )
    theirs.train()
    names = ("step", "epoch", "loss", "grad_norm", "learning_rate")
    assert history(ours, *names) == history(theirs, *names)
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_run_is_that_of_a_plain_loop(tmp_path: Path, method: emprune.Method) -> None:
    trainer = make_trainer(tmp_path, make_pruner(method), optim="sgd", max_grad_norm=0.0)
    trainer.train()
    model, dataset = make_model(), Sentences()
    pruner = make_pruner(method)
    plain = DataLoader(dataset, batch_size=4, shuffle=True, collate_fn=default_data_collator)
    loader = emprune.PrunedLoader(plain, pruner)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / loader.total_steps)
    for epoch in range(5):
        loader.set_epoch(epoch)
        assert pruner.plan.index.tolist() == trainer.planned[epoch]
        for index, batch in loader:
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            losses = F.cross_entropy(logits, batch["labels"], reduction="none")
            pruner.reduce(index, losses, logits).backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, trainer.model.state_dict()[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("task", ["sequence", "token", "causal"])
def test_weights_multiply_each_samples_part_of_the_loss(tmp_path: Path, task: str, smoothing: float) -> None:
    trainer = make_trainer(tmp_path, make_pruner(), cls=PrunedTrainer, task=task, label_smoothing_factor=smoothing)
    trainer.get_train_dataloader()
    plan = trainer.pruner.begin_epoch(0)
    weights = torch.rand(len(plan)) * 3
    object.__setattr__(plan, "weight", weights)
    batch = default_data_collator([Sentences(task)[int(i)] for i in plan.index[:4]])
    for num_items in (None, torch.tensor(17)):
        loss = trainer.compute_loss(trainer.model, {**batch, INDEX_KEY: plan.index[:4]}, num_items_in_batch=num_items)
        logits = trainer.model(**batch).logits
        labels = next_labels(batch["labels"]) if task == "causal" else batch["labels"]
        each = F.cross_entropy(
            logits.flatten(0, -2), labels.flatten(), reduction="none", label_smoothing=smoothing
        ).view(4, -1)
        parts = each.sum(1)
        plain = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=num_items)
        normalised = plain.detach() / parts.sum().detach()
        if num_items is None:
            torch.testing.assert_close(normalised, 1 / (labels != -100).sum())
        expected = (weights[:4] * parts).sum() * normalised
        torch.testing.assert_close(loss, expected)
        parameter = next(trainer.model.parameters())
        ours, theirs = (torch.autograd.grad(value, parameter)[0] for value in (loss, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("cls", "config", "expected"),
    [
        (GPT2LMHeadModel, GPT2Config, True),
        (type("Derived", (GPT2LMHeadModel,), {}), GPT2Config, True),
        (LlamaForCausalLM, LlamaConfig, True),
        (BertForMaskedLM, BertConfig, False),
        (BertForTokenClassification, BertConfig, False),
        (T5ForConditionalGeneration, T5Config, False),
        (BartForCausalLM, BartConfig, False),
        (XLNetLMHeadModel, XLNetConfig, False),
        (type("Tagger", (PreTrainedModel,), {"config_class": BertConfig}), BertConfig, False),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_labels_are_shifted_where_the_models_loss_shifts_them(cls: Any, config: Any, expected: bool) -> None:
    with torch.device("meta"):
        model = cls(config())
    assert predicts_next(model) == expected
    assert predicts_next(model, smoothed=True) == (expected or cls in (BartForCausalLM, XLNetLMHeadModel))

    class Peft(torch.nn.Module):
        def get_base_model(self) -> Any:
            return model

    assert predicts_next(Peft()) == expected
    assert predicts_next(torch.compile(model, backend="eager")) == expected
    assert predicts_next(torch.nn.DataParallel(model)) == expected  # as FSDP's wrapper, which needs processes
    assert predicts_next(torch.compile(torch.nn.DataParallel(model), backend="eager")) == expected


def test_the_log_says_what_each_epoch_kept(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, make_pruner(), logging_strategy="epoch", eval_strategy="epoch")
    trainer.train()
    entries = history(trainer, "epoch", "kept_fraction", "churn", "planning_seconds")
    assert [entry[:2] for entry in entries] == [
        (epoch + 1, len(planned) / NUM_SAMPLES) for epoch, planned in trainer.planned.items()
    ]
    assert entries[0][2] is None
    assert all(0 <= churn <= 1 for _, _, churn, _ in entries[1:])
    assert all(seconds > 0 for *_, seconds in entries)
    assert not any("churn" in entry for entry in trainer.state.log_history if "loss" not in entry)


def test_evaluation_and_prediction_are_never_observed(tmp_path: Path) -> None:
    pruner = make_pruner()
    trainer = make_trainer(tmp_path, pruner, eval_strategy="steps", eval_steps=1, eval_on_start=True)
    trainer.train()
    before = pruner.state_dict()
    trainer.evaluate()
    trainer.evaluation_loop(trainer.get_train_dataloader(), "train", prediction_loss_only=True)
    assert len(trainer.predict(Sentences()).predictions) == NUM_SAMPLES
    assert_same_state(pruner.state_dict(), before)
    assert int(pruner.visits.sum()) == sum(map(len, trainer.delivered.values()))


def test_the_first_batches_may_be_looked_at_before_training(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, make_pruner())
    loader = trainer.get_train_dataloader()
    seen = next(iter(loader))[INDEX_KEY].tolist()
    trainer.train()
    assert seen == trainer.planned[0][:4]
    assert len(loader) == -(-len(trainer.planned[0]) // 4)
    assert trainer.delivered == trainer.planned


class ByEpoch(Sentences):
    """Wants to be told the epoch, and offers callbacks something to call."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[int] = []
        self.strength = 0

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


class Harder(TrainerCallback):
    """Reaches the user's dataset as callbacks do."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        assert train_dataloader.dataset.strength == int(state.epoch)
        train_dataloader.dataset.strength += 1


def test_callbacks_reach_the_users_dataset_and_it_is_told_each_epoch(tmp_path: Path) -> None:
    pruner, dataset = make_pruner(), ByEpoch()
    arguments = make_arguments(tmp_path, save_strategy="steps", save_steps=3)
    PrunedTrainer(make_model(), arguments, train_dataset=dataset, pruner=pruner, callbacks=[Harder()]).train()
    assert sorted(set(dataset.epochs)) == list(range(5))
    assert dataset.strength == 5
    resumed, again = make_pruner(), ByEpoch()
    trainer = PrunedTrainer(make_model(), arguments, train_dataset=again, pruner=resumed)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))  # in epoch 1, with batches to skip
    assert sorted(set(again.epochs)) == list(range(5))
    assert again.epochs[-4:] == [1, 2, 3, 4]


def test_a_collator_may_leave_samples_out_if_it_says_which(tmp_path: Path) -> None:
    """Those are not observed, and no loss is another sample's."""

    def whole(samples: list[dict[str, Any]]) -> KeptSamples:
        kept = [i for i, sample in enumerate(samples) if int(sample["input_ids"][0]) % 10 != 7]
        return KeptSamples(default_data_collator([{**samples[i], "note": None} for i in kept]), kept)

    arguments = make_arguments(tmp_path, learning_rate=0.0, eval_strategy="epoch", num_train_epochs=5)
    data: dict[str, Any] = {"train_dataset": Sentences(), "eval_dataset": Sentences()}
    trainer = PrunedTrainer(make_model(), arguments, **data, data_collator=whole, pruner=make_pruner())
    trainer.train()
    assert len(trainer.predict(Sentences()).predictions) == int((torch.arange(NUM_SAMPLES) % 10 != 7).count_nonzero())
    trainer.pruner.sync()
    stats = trainer.pruner.stats
    damaged = torch.arange(NUM_SAMPLES) % 10 == 7
    assert not bool((stats.seen & damaged).any())
    torch.testing.assert_close(stats["loss"][stats.seen], what_each_costs(trainer)[0][stats.seen])
    assert int(trainer.pruner.visits.sum()) == sum(trainer.pruner.schedule.num_kept_per_epoch(multiple_of=4))
    assert stats["failures"].equal(trainer.pruner.visits.where(damaged, 0))
    assert bool(stats.given_up.any())


class Looking(TrainerCallback):
    """Makes a loader of its own in mid-training, and looks at a batch."""

    trainer: Any

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        loader = self.trainer.get_train_dataloader()
        assert len(loader) > 0
        assert INDEX_KEY in next(iter(loader))


def test_a_loader_that_is_made_in_mid_training_changes_nothing(tmp_path: Path) -> None:
    results = []
    for looking in (False, True):
        trainer = make_trainer(tmp_path, make_pruner())
        if looking:
            Looking.trainer = trainer
            trainer.add_callback(Looking())
        trainer.train()
        assert trainer.delivered == trainer.planned
        results.append((trainer.delivered, trainer.state.global_step))
    assert results[0] == results[1]
    assert results[0][1] == trainer.state.max_steps


def test_the_last_epoch_is_folded_at_the_end(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, pruner := make_pruner())
    trainer.train()
    assert int(pruner.stats["visits"].sum()) == sum(map(len, trainer.delivered.values()))


@pytest.mark.parametrize("save_strategy", ["no", "epoch"])
def test_a_loss_of_the_last_epoch_that_is_not_finite_is_a_warning_and_the_model_is_saved(
    tmp_path: Path, save_strategy: str
) -> None:
    class FailingLast(PrunedTrainer):
        def observation(self, outputs: Any, inputs: Any) -> tuple[Tensor, Any]:
            losses, seen = super().observation(outputs, inputs)
            return losses.masked_fill(losses == losses.max(), torch.nan) if self.pruner.epoch == 1 else losses, seen

    pruner = make_pruner(num_epochs=2, tail_epochs=0)
    trainer = make_trainer(tmp_path, pruner, cls=FailingLast, save_strategy=save_strategy)
    with pytest.warns(EmpruneWarning, match="Losses .* must be finite"):
        trainer.train()
    last = tmp_path / f"checkpoint-{trainer.state.max_steps}"
    assert trainer.state.global_step == trainer.state.max_steps
    assert last.exists() == (save_strategy == "epoch")


def test_the_mixin_prunes_a_subclass_of_the_trainer(tmp_path: Path) -> None:
    pruner = make_pruner(emprune.Full(), num_epochs=1, keep=1, tail_epochs=0)
    ours = make_trainer(tmp_path, pruner, cls=PrunedOwnLoss, extra=0.0)
    more = make_trainer(
        tmp_path,
        make_pruner(emprune.Full(), num_epochs=1, keep=1, tail_epochs=0),
        cls=PrunedOwnLoss,
        extra=2.0,
    )
    for trainer in (ours, more):
        trainer.train()
        assert isinstance(trainer, OwnLoss)
    assert_same_weights(ours, more)
    assert_same_state(ours.pruner.state_dict(), more.pruner.state_dict())
    logged = [(b - a) for (a,), (b,) in zip(history(ours, "loss"), history(more, "loss"), strict=True)]
    assert logged == pytest.approx([2.0] * len(logged))


def test_a_task_of_ones_own_overrides_the_observation(tmp_path: Path) -> None:
    class ByLength(PrunedTrainer):
        def observation(self, outputs: Any, inputs: Any) -> tuple[Tensor, Any]:
            return inputs["attention_mask"].sum(1).float(), outputs.logits

    trainer = make_trainer(tmp_path, make_pruner(), cls=ByLength)
    trainer.train()
    trainer.pruner.sync()
    seen = trainer.pruner.stats.seen
    assert trainer.pruner.stats["loss"][seen].equal((6 - torch.arange(NUM_SAMPLES) % 3).float()[seen])

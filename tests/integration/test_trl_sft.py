"""TRL's SFTTrainer trains on the plan, runs the model once a step, and credits every loss to its row."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import emprune

pytest.importorskip("trl", reason="needs emprune[trl]")

from peft import LoraConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from emprune.integrations.trl import PrunedSFTTrainer
from emprune.testing import assert_same_state
from tests.integration.tuning import (
    chats,
    completions,
    count_forwards,
    make_config,
    make_lm,
    make_tokenizer,
    texts,
)
from tests.messages import Raises

# PEFT asks in a way that newer transformers deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "texts": (texts, {}, {}),
    "completions": (completions, {"max_length": 10}, {}),
    "whole texts of completions": (completions, {"completion_only_loss": False}, {}),
    "chats": (chats, {}, {}),
    "assistant masks": (chats, {"assistant_only_loss": True}, {}),
    "lora": (completions, {}, {"peft_config": LoraConfig(r=2, target_modules=["q_proj", "v_proj"])}),
    "padding-free": (completions, {"padding_free": True, "max_length": None}, {}),
    "shuffled": (completions, {"shuffle_dataset": True, "max_length": 12}, {}),
    "checkpointed": (completions, {"activation_checkpointing": True}, {}),
    "dft": (completions, {"loss_type": "dft"}, {}),
    "accumulated": (texts, {"gradient_accumulation_steps": 2}, {}),
}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")  # TRL's trainers report their use


def make_trainer(folder: Path, data: Any, *, cls: Any = PrunedSFTTrainer, extra: Any = None, **options: Any) -> Any:
    prune: dict[str, Any] = {"method": emprune.EMP(), "keep": 0.5} if cls is PrunedSFTTrainer else {}
    prune = extra if "pruner" in (extra or {}) else prune | (extra or {})
    config = make_config(SFTConfig, folder, **options)
    return cls(make_lm(), args=config, train_dataset=data, processing_class=make_tokenizer(), **prune)


def costs_of(model: Any, sample: dict[str, Any]) -> tuple[float, float]:
    """The slow, obvious twin: one sample, its labels that count one by one."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([sample["input_ids"]])).logits[0, :-1].double()
    labels: Tensor = torch.tensor(sample["labels"])[1:]
    counted = labels != -100
    log_p = logits[counted].log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(-1).mean()
    return float(F.nll_loss(log_p, labels[counted])), float(entropy)


@pytest.mark.parametrize("case", CASES)
def test_every_loss_and_entropy_is_its_own_rows(tmp_path: Path, case: str) -> None:
    make_data, options, extra = CASES[case]
    data = make_data()
    trainer = make_trainer(tmp_path, data, extra=extra, **options)
    assert count_forwards(trainer) == trainer.state.global_step * options.get("gradient_accumulation_steps", 1)
    pruner, rows = trainer.pruner, trainer.rows
    assert pruner.num_samples == len(trainer.train_dataset) == len(rows)
    quantum = 4 * options.get("gradient_accumulation_steps", 1)
    assert int(pruner.visits.sum()) == sum(pruner.schedule.num_kept_per_epoch(multiple_of=quantum))
    seen = pruner.stats.seen
    assert int(seen.sum()) >= 20 or case == "completions"
    model = trainer.model.eval()
    expected = [costs_of(model, sample) for sample in trainer.train_dataset]
    losses, entropies = (torch.tensor(each) for each in zip(*expected, strict=True))
    assert losses.diff().abs().min() > 1e-4  # they tell the samples apart
    torch.testing.assert_close(pruner.stats["loss"][seen], losses[seen], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pruner.stats["memory"][seen], entropies[seen], rtol=1e-4, atol=1e-5)
    tokenizer = make_tokenizer()
    for sample, row in zip(trainer.train_dataset, rows.tolist(), strict=True):
        user = data[row]
        first = user["prompt"] if "prompt" in user else user.get("text") or "<user> " + user["messages"][0]["content"]
        assert str(tokenizer.decode(sample["input_ids"])).startswith(first[:12])


def test_rows_that_trl_drops_are_left_out_of_the_exported_scores(tmp_path: Path) -> None:
    data = completions()
    trainer = make_trainer(tmp_path, data, max_length=10)
    kept = [row for row in range(len(data)) if len(data[row]["prompt"].split()) < 10]
    assert trainer.rows.tolist() == kept
    assert len(kept) < len(data)
    assert trainer.train_dataset.column_names.count("emprune_row") == 0
    trainer.train()
    frame = trainer.to_frame()
    assert frame["row"].tolist() == kept
    assert frame["loss"].notna().any()


@pytest.mark.parametrize("spec", ["full", "random-permutation", "greedy", "infobatch:delta=1", "emp"])
def test_the_backbone_runs_as_often_as_without_pruning(tmp_path: Path, spec: str) -> None:
    pruned = make_trainer(tmp_path, texts(), extra={"method": spec, "keep": None if spec == "full" else 0.5})
    vanilla = make_trainer(tmp_path, texts(), cls=SFTTrainer)
    for trainer in (pruned, vanilla):
        assert count_forwards(trainer) == trainer.state.global_step > 0


def test_full_trains_as_trl_does(tmp_path: Path) -> None:
    options: dict[str, Any] = {"learning_rate": 1e-2, "per_device_train_batch_size": 24, "num_train_epochs": 2}
    trainers = [
        make_trainer(tmp_path, texts(), cls=cls, extra=extra, **options)
        for cls, extra in ((PrunedSFTTrainer, {"method": emprune.EMP(), "keep": 1.0}), (SFTTrainer, {}))
    ]
    for trainer in trainers:
        trainer.train()
    ours, theirs = (trainer.model.state_dict() for trainer in trainers)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss_type", ["nll", "dft"])
def test_weights_enter_the_loss(tmp_path: Path, loss_type: str) -> None:
    trainer = make_trainer(tmp_path, texts(), extra={"method": "infobatch:delta=1"}, loss_type=loss_type)
    trainer.train()
    plan = trainer.pruner.plan
    assert plan.weight is not None
    heavy = int(plan.weight.argmax())
    index = plan.index[torch.tensor([heavy, (heavy + 1) % len(plan)])]
    batch = trainer.data_collator([trainer.train_dataset[position] for position in index.tolist()])
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, {**batch, "emprune_index": index})
    outputs = trainer.model(**batch, fused_lm_head=True, use_cache=False)
    each = -outputs.log_probs
    if loss_type == "dft":
        each = each * outputs.log_probs.exp()
    expected = (each.sum(1) * trainer.pruner.weights(index)).sum() / outputs.label_mask.sum()
    torch.testing.assert_close(loss, expected)
    assert loss.requires_grad


def test_the_budget_may_be_steps_and_a_pruner_may_be_given(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, texts(), max_steps=7)
    trainer.train()
    assert trainer.state.global_step == trainer.pruner.schedule.num_steps == 7
    pruner = emprune.DataPruner("greedy", num_samples=24, num_epochs=3, keep=0.5)
    trainer = make_trainer(tmp_path, texts(), extra={"pruner": pruner})
    trainer.train()
    assert int(pruner.visits.sum()) == 36


@pytest.mark.parametrize("strategy", ["bfd", "bfd_split"])
def test_packing_is_refused_when_the_trainer_is_made(tmp_path: Path, strategy: str, raises: Raises) -> None:
    options: dict[str, Any] = {"packing": True, "packing_strategy": strategy, "max_length": 16}
    with raises(emprune.errors.ConfigError, parameter="packing", value=True):
        make_trainer(tmp_path, texts(), **options)
    trainer = make_trainer(tmp_path, texts(), extra={"method": "random-permutation"}, **options)  # of packed rows
    assert trainer.rows is None
    with raises(emprune.errors.ConfigError, parameter="packing", value=True):
        trainer.to_frame()


def test_what_hides_a_samples_loss_is_refused(tmp_path: Path, raises: Raises) -> None:
    with raises(emprune.errors.ConfigError, parameter="pad_to_multiple_of", value=8):
        make_trainer(tmp_path, texts(), padding_free=True, max_length=None, pad_to_multiple_of=8)
    with raises(emprune.errors.ConfigError, parameter="memory", value=f"{__name__}.of_logits"):
        make_trainer(tmp_path, texts(), extra={"method": emprune.EMP(memory=of_logits)})
    with raises(emprune.errors.ConfigError, parameter="train_dataset", value="IterableDataset"):
        make_trainer(tmp_path, texts().to_iterable_dataset())
    with raises(emprune.errors.ConfigError, parameter="keep", value=0.5):
        pruner = emprune.DataPruner("greedy", num_samples=24, num_epochs=3, keep=0.5)
        make_trainer(tmp_path, texts(), extra={"pruner": pruner, "method": None, "keep": 0.5})
    with raises(emprune.errors.ConfigError, parameter="method", value=None):
        make_trainer(tmp_path, texts(), extra={"method": None})


def test_what_the_fused_head_cannot_record_is_refused_when_the_trainer_is_made(tmp_path: Path, raises: Raises) -> None:
    with raises(emprune.errors.ConfigError, parameter="record"):
        make_trainer(tmp_path, texts(), extra={"record": "all"})
    with raises(emprune.errors.ConfigError, parameter="guard"):
        make_trainer(tmp_path, texts(), extra={"guard": 3})
    trainer = make_trainer(tmp_path, texts(), extra={"record": "mean_loss"})
    trainer.train()
    trainer.pruner.sync()
    assert len(trainer.pruner.suspects(3)) == 3


@pytest.mark.filterwarnings("ignore:`label_smoothing_factor` is deprecated:FutureWarning")
def test_a_smoothed_loss_is_observed_without_smoothing_and_has_no_weights(tmp_path: Path, raises: Raises) -> None:
    trainer = make_trainer(tmp_path, texts(), label_smoothing_factor=0.2)
    trainer.train()
    trainer.model.eval()
    seen = trainer.pruner.stats.seen
    losses = torch.tensor([costs_of(trainer.model, sample)[0] for sample in trainer.train_dataset])
    torch.testing.assert_close(trainer.pruner.stats["loss"][seen], losses[seen], rtol=1e-4, atol=1e-5)
    trainer = make_trainer(tmp_path, texts(), extra={"method": "infobatch:delta=1"}, label_smoothing_factor=0.2)
    with raises(emprune.errors.ConfigError, parameter="label_smoothing_factor", value=0.2):
        trainer.train()


def test_a_run_resumes_within_an_epoch(tmp_path: Path) -> None:
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 4, "learning_rate": 1e-2}
    whole = make_trainer(tmp_path, texts(), **options)
    whole.train()
    resumed = make_trainer(tmp_path, texts(), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert_same_state(whole.pruner.state_dict(), resumed.pruner.state_dict())


def test_a_trainer_of_ones_own_is_pruned_too(tmp_path: Path) -> None:
    class Own(SFTTrainer):
        calls = 0

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return super().compute_loss(*args, **kwargs)

    class PrunedOwn(PrunedSFTTrainer, Own):
        pass

    trainer = make_trainer(tmp_path, texts(), cls=PrunedOwn, extra={"method": "greedy", "keep": 0.5})
    assert count_forwards(trainer) == trainer.state.global_step == trainer.calls


def of_logits(logits: Tensor) -> Tensor:
    return logits.flatten(1).mean(1)

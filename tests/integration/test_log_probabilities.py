"""Watching a language model computes no second log-softmax, and no second forward pass."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import emprune

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from transformers import LlamaConfig, LlamaForCausalLM, Trainer

from emprune.integrations.log_probabilities import known_log_probabilities
from emprune.integrations.trainer_losses import Predictions
from tests.integration.trainers import Sentences, make_arguments, make_model, make_pruner, make_trainer


def batch_of(task: str = "causal") -> dict[str, Tensor]:
    samples = [Sentences(task)[position] for position in (3, 7, 11)]
    names = ("input_ids", "attention_mask", "labels")
    return {name: torch.stack([sample[name] for sample in samples]) for name in names}


def model_of(kind: str) -> Any:
    if kind != "llama":
        return make_model(kind)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=60, num_attention_heads=2, **sizes))


@pytest.mark.parametrize("kind", ["causal", "llama", "token"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_items", [None, 11])
def test_what_the_models_loss_has_computed_is_found(kind: str, dtype: torch.dtype, num_items: int | None) -> None:
    model, inputs = model_of(kind).to(dtype), batch_of("token" if kind == "token" else "causal")
    normalisation = {} if num_items is None or kind == "token" else {"num_items_in_batch": torch.tensor(num_items)}
    outputs = model(**inputs, **normalisation)
    if kind == "token" and dtype == torch.bfloat16:  # its loss is in half precision
        assert known_log_probabilities(outputs.loss, outputs.logits) is None
        return
    known = known_log_probabilities(outputs.loss * 2, outputs.logits)
    assert known is not None
    torch.testing.assert_close(known, outputs.logits.float().log_softmax(-1), rtol=0, atol=0)
    found = Predictions.of(outputs, inputs, label_names=["labels"], predicts_next=kind != "token")
    alone = Predictions.of({"logits": outputs.logits}, inputs, label_names=["labels"], predicts_next=kind != "token")
    assert found.normalized
    assert not alone.normalized
    torch.testing.assert_close(found.losses(), alone.losses(), rtol=1e-6, atol=1e-6)
    entropies = [emprune.memory.prediction_entropy(one.outputs) for one in (found, alone)]  # type: ignore[arg-type]
    torch.testing.assert_close(*entropies, rtol=1e-6, atol=1e-6)


def test_another_loss_or_other_logits_are_not_mistaken() -> None:
    model, inputs = model_of("llama"), batch_of()
    outputs = model(**inputs)
    logits, labels = outputs.logits, inputs["labels"]
    shorter = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    transposed = torch.nn.functional.cross_entropy(logits.transpose(0, 1).reshape(-1, 60), labels.T.flatten())
    smoothed = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1)
    others = [shorter, transposed, smoothed, logits.sum(), outputs.loss + logits.mean(), outputs.loss.detach(), None]
    for loss in others:
        assert known_log_probabilities(loss, logits) is None
    assert known_log_probabilities(outputs.loss, logits * 2) is None
    assert known_log_probabilities(outputs.loss, logits.detach()) is None
    with torch.no_grad():
        outputs = model(**inputs)
    assert known_log_probabilities(outputs.loss, outputs.logits) is None


@pytest.mark.parametrize("spec", ["full", "random", "greedy", "emp", "infobatch"])
def test_the_model_runs_as_often_as_without_pruning(tmp_path: Path, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    softmaxes = 0
    plain = torch.log_softmax

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal softmaxes
        softmaxes += 1
        return plain(*args, **kwargs)

    monkeypatch.setattr(torch, "log_softmax", counted)  # as the entropy takes it
    pruner = make_pruner(emprune.methods.make_method(spec), keep=1.0, num_epochs=2, tail_epochs=0)
    trainer = make_trainer(tmp_path, pruner, task="causal")
    vanilla: Any = Trainer(
        make_model("causal"), make_arguments(tmp_path, num_train_epochs=2), train_dataset=Sentences("causal")
    )
    forwards = {}
    for name, each in (("pruned", trainer), ("vanilla", vanilla)):
        passes: list[int] = []
        each.model.transformer.register_forward_hook(lambda *_, passes=passes: passes.append(1))
        each.train()
        forwards[name] = len(passes) / each.state.global_step
    assert forwards == {"pruned": 1, "vanilla": 1}
    assert softmaxes == 0

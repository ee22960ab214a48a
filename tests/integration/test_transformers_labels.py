"""Labels and outputs of every form the Trainer takes: each sample's own loss is observed, or the cause is named."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import emprune

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    PreTrainedModel,
    Trainer,
    default_data_collator,
)

from emprune.errors import ObservationError
from emprune.integrations.transformers import INDEX_KEY, PrunedTrainer
from tests.integration.trainers import BERT, NUM_SAMPLES, Sentences, make_arguments, make_pruner

TOKENS = torch.stack([Sentences()[position]["input_ids"].clamp(min=1) for position in range(NUM_SAMPLES)])
CLASSES = torch.arange(NUM_SAMPLES) % 3
RATINGS = torch.arange(NUM_SAMPLES) % 5
MANY = torch.stack([CLASSES == 0, CLASSES > 0, CLASSES == 2], 1).float()


def bert(cls: type[PreTrainedModel] = BertForSequenceClassification, **config: Any) -> Any:
    """A model whose losses tell the samples apart."""
    torch.manual_seed(0)
    model = cls(BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **{**BERT, **config}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


class Own(nn.Module):
    """A model that is none of transformers'.

    Args:
        form: What it returns: a "dict", or a "tuple" (loss, logits).
    """

    def __init__(self, form: str = "dict") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form, self.table = form, nn.Embedding(60, 3)

    def forward(self, input_ids: Tensor, labels: Any = None) -> Any:
        logits = self.table(input_ids).mean(1)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        if self.form == "tuple":
            return (logits,) if loss is None else (loss, logits)
        return {"loss": loss, "logits": logits}


class Targeted(Own):
    """Takes its labels by another name."""

    def forward(self, input_ids: Tensor, labels: Any = None, target: Any = None) -> Any:
        return super().forward(input_ids, target)


def train(folder: Path, model: nn.Module, labels: dict[str, Any], *, method: Any = None, **options: Any) -> Any:
    """Train with learning rate 0; `labels` are (N, ...) by name."""
    own = ("compute_loss_func", "data_collator")
    extra: dict[str, Any] = {name: options.pop(name) for name in own if name in options}
    cls = options.pop("cls", PrunedTrainer)
    data = [{"input_ids": ids, **{name: values[i] for name, values in labels.items()}} for i, ids in enumerate(TOKENS)]
    arguments = make_arguments(folder, learning_rate=0.0, remove_unused_columns=False, **options)
    if cls is PrunedTrainer:
        extra["pruner"] = make_pruner(method or emprune.Greedy())
    trainer = cls(model, arguments, train_dataset=data, **{"data_collator": default_data_collator, **extra})
    trainer.train()
    return trainer


def assert_observed(trainer: Any, expected: Tensor, column: str = "loss") -> None:
    """Fail unless every sample seen has its own value."""
    trainer.pruner.sync()
    seen = trainer.pruner.stats.seen
    assert int(seen.count_nonzero()) >= NUM_SAMPLES - 1
    torch.testing.assert_close(trainer.pruner.stats[column][seen], expected[seen], rtol=1e-4, atol=1e-5)


def logits_of(model: Any) -> Tensor:
    with torch.no_grad():
        outputs = model(input_ids=TOKENS)
    logits = outputs["logits"] if isinstance(outputs, dict) else outputs[0]
    assert isinstance(logits, Tensor)
    return logits


@pytest.mark.parametrize("labels", [RATINGS, RATINGS.float(), torch.zeros(NUM_SAMPLES, dtype=torch.int64)])
def test_a_regression_is_observed_as_its_squared_error(tmp_path: Path, labels: Tensor) -> None:
    trainer = train(tmp_path, bert(num_labels=1), {"labels": labels})
    assert_observed(trainer, (logits_of(trainer.model).squeeze(1) - labels) ** 2)


def test_a_regression_on_several_values_is_observed_as_their_mean(tmp_path: Path) -> None:
    trainer = train(tmp_path, bert(problem_type="regression"), {"labels": MANY * 2})
    assert_observed(trainer, ((logits_of(trainer.model) - MANY * 2) ** 2).mean(1))


def test_several_labels_at_once_are_observed_as_their_binary_losses_and_entropies(tmp_path: Path) -> None:
    trainer = train(tmp_path, bert(), {"labels": MANY}, method=emprune.EMP(beta=4.0))
    logits = logits_of(trainer.model)
    assert_observed(trainer, F.binary_cross_entropy_with_logits(logits, MANY, reduction="none").mean(1))
    entropy = torch.distributions.Bernoulli(logits=logits).entropy().mean(1)
    assert_observed(trainer, entropy, "memory")


@pytest.mark.parametrize("task", ["regression", "multi_label"])
def test_weights_multiply_the_parts_of_other_losses_too(tmp_path: Path, task: str) -> None:
    labels, model = (RATINGS, bert(num_labels=1)) if task == "regression" else (MANY, bert())
    trainer = train(tmp_path, model, {"labels": labels}, method=emprune.InfoBatch())
    plan = trainer.pruner.plan
    weight = torch.rand(len(plan)) * 3
    object.__setattr__(plan, "weight", weight)
    index = plan.index[:4]
    batch = {"input_ids": TOKENS[index], "labels": labels[index], INDEX_KEY: index}
    loss = trainer.compute_loss(trainer.model, batch)
    logits = logits_of(model)[index]
    if task == "regression":
        each = (logits.squeeze(1) - labels[index]) ** 2
    else:
        each = F.binary_cross_entropy_with_logits(logits, labels[index], reduction="none").mean(1)
    torch.testing.assert_close(loss.detach(), (weight[:4] * each).mean())


def test_a_memory_term_of_a_regression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ObservationError, match="emp's memory term.*got a regression.*Greedy.*`observation"):
        train(tmp_path, bert(num_labels=1), {"labels": RATINGS}, method=emprune.EMP())


def test_the_start_and_end_of_an_answer_are_observed_as_their_mean(tmp_path: Path) -> None:
    start, end = RATINGS, torch.where(RATINGS == 4, 99, RATINGS + 1)  # 99 is beyond the tokens: it does not count
    labels = {"start_positions": start, "end_positions": end}
    trainer = train(tmp_path, bert(BertForQuestionAnswering, num_labels=2), labels, method=emprune.EMP(beta=4.0))
    with torch.no_grad():
        outputs = trainer.model(input_ids=TOKENS)
    first = F.cross_entropy(outputs.start_logits, start, reduction="none")
    last = F.cross_entropy(outputs.end_logits, end.where(end != 99, -100), reduction="none")
    assert_observed(trainer, torch.where(end == 99, first, (first + last) / 2))


@pytest.mark.parametrize(
    ("form", "smoothing"), [("dict", 0.0), ("tuple", 0.0), ("return_dict=False", 0.0), ("return_dict=False", 0.1)]
)
def test_logits_are_found_in_whatever_the_model_returns(tmp_path: Path, form: str, smoothing: float) -> None:
    """With label smoothing the Trainer keeps the labels from the model, and the loss is missing from its tuple."""
    model = bert(return_dict=False) if form == "return_dict=False" else Own(form)
    options: dict[str, Any] = {"label_smoothing_factor": smoothing, "method": emprune.EMP(beta=4.0)}
    trainer = train(tmp_path, model, {"labels": CLASSES}, **options)
    assert_observed(trainer, F.cross_entropy(logits_of(model), CLASSES, reduction="none"))


def test_a_loss_function_of_ones_own_is_given_a_tuple(tmp_path: Path) -> None:
    def squared(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        return F.cross_entropy(outputs[0], labels) ** 2

    trainer = train(tmp_path, Own("tuple"), {"labels": CLASSES}, compute_loss_func=squared)
    assert_observed(trainer, F.cross_entropy(logits_of(trainer.model), CLASSES, reduction="none"))


def test_labels_have_the_name_that_the_trainer_is_told(tmp_path: Path) -> None:
    trainer = train(tmp_path, Targeted(), {"target": CLASSES}, label_names=["target"])
    assert_observed(trainer, F.cross_entropy(logits_of(trainer.model), CLASSES, reduction="none"))
    with pytest.raises(ObservationError, match=r"`label_names`=\['labels'\]; got the keys .*'target'"):
        train(tmp_path, Targeted(), {"target": CLASSES})


def test_labels_may_be_a_column(tmp_path: Path) -> None:
    trainer = train(tmp_path, bert(problem_type="single_label_classification"), {"labels": CLASSES[:, None]})
    assert_observed(trainer, F.cross_entropy(logits_of(trainer.model), CLASSES, reduction="none"))


class AsList(Own):
    """Takes a list of labels, which the plain Trainer hands on."""

    def forward(self, input_ids: Tensor, labels: Any = None) -> Any:
        logits = self.table(input_ids).mean(1)
        return {"loss": sum(F.cross_entropy(logits, part) for part in labels), "logits": logits}


def listed(samples: list[dict[str, Any]]) -> dict[str, Any]:
    batch: dict[str, Any] = default_data_collator(samples)
    return {**batch, "labels": [batch["labels"], batch["labels"]]}


def two_kinds(samples: list[dict[str, Any]]) -> dict[str, Any]:
    batch: dict[str, Any] = default_data_collator(samples)
    return {**batch, "target": batch["labels"]}


class Reward(Own):
    """One number for a sample, and a loss of its own."""

    def forward(self, input_ids: Tensor, labels: Any = None) -> Any:
        logits = self.table(input_ids).mean(1)[:, :1]
        return {"loss": logits.mean(), "logits": logits}


class NoLogits(Own):
    def forward(self, input_ids: Tensor, labels: Any = None) -> Any:
        return {"loss": self.table(input_ids).mean(), "scores": 1}


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (AsList(), {"data_collator": listed}, "`labels` must be one tensor.*got a list of 2"),
        (Targeted(), {"data_collator": two_kinds, "label_names": ["labels", "target"]}, r"got \['labels', 'target'\]"),
        (Reward(), {}, r"two classes or more; got logits \(4, 1\).*regression"),
        (NoLogits(), {}, r"`logits`.*got the keys \['loss', 'scores'\]"),
    ],
    ids=["list", "two kinds", "one class", "no logits"],
)
def test_what_has_no_known_loss_for_each_sample_is_refused_with_its_cause(
    tmp_path: Path, model: nn.Module, options: dict[str, Any], message: str
) -> None:
    """The plain Trainer trains on all of it; nothing here is a fused loss."""
    train(tmp_path, model, {"labels": CLASSES}, cls=Trainer, **options)
    with pytest.raises(ObservationError, match=message) as caught:
        train(tmp_path, model, {"labels": CLASSES}, **options)
    assert "Override `observation(outputs, inputs)`" in str(caught.value)
    assert "fused" not in str(caught.value)


class Flat(Own):
    def forward(self, input_ids: Tensor, labels: Any = None) -> Any:
        logits = self.table(input_ids)
        return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten()), "logits": logits.mean(1)}


def test_labels_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ObservationError, match=r"classes, int64; got \(4, 3\) torch.float32"):
        train(tmp_path, Own(), {"labels": MANY})
    with pytest.raises(ObservationError, match=r"got labels \(4, 6\) torch.int64 for logits \(4, 3\)"):
        train(tmp_path, Flat(), {"labels": TOKENS % 3})


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        (emprune.Full(), False),
        (emprune.Random(), False),
        (emprune.methods.StaticRandom(), False),
        (emprune.RandomPermutation(), False),
        (emprune.Greedy(), True),
    ],
    ids=lambda case: getattr(case, "name", ""),
)
def test_a_method_that_needs_no_losses_asks_for_no_outputs(tmp_path: Path, method: emprune.Method, asked: bool) -> None:
    """Outputs may cost a further forward pass, as in TRL."""

    class Asked(Trainer):
        wanted: bool

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            self.wanted = bool(args[2] if len(args) > 2 else kwargs.get("return_outputs"))
            return super().compute_loss(*args, **kwargs)

    class Pruned(PrunedTrainer, Asked):
        def observation(self, outputs: Any, inputs: Any) -> tuple[Tensor, Any]:
            assert asked
            return super().observation(outputs, inputs)

    options: dict[str, Any] = {"keep": 1, "tail_epochs": 0} if isinstance(method, emprune.Full) else {}
    pruner = make_pruner(method, **options)
    data = [{"input_ids": ids, "labels": int(label)} for ids, label in zip(TOKENS, CLASSES, strict=True)]
    trainer = Pruned(Own(), make_arguments(tmp_path), train_dataset=data, pruner=pruner)
    trainer.train()
    assert trainer.wanted == asked
    counted = method.scores or len(method.columns) > 0
    visits = sum(entry["num_kept"] for entry in pruner.history)
    assert int(pruner.visits.sum()) == (visits if counted else 0)


def test_methods_that_need_no_losses_are_observed_for_a_comparison(tmp_path: Path) -> None:
    class Compared(PrunedTrainer):
        always_observe = True

    data = [{"input_ids": ids, "labels": int(label)} for ids, label in zip(TOKENS, CLASSES, strict=True)]
    pruner = make_pruner(emprune.RandomPermutation())
    model, arguments = Own(), make_arguments(tmp_path, learning_rate=0.0)
    trainer = Compared(model, arguments, train_dataset=data, pruner=pruner)
    trainer.train()
    assert_observed(trainer, F.cross_entropy(logits_of(model), CLASSES, reduction="none"))

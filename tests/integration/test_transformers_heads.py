"""The real heads of transformers: what is observed of a sample is the head's own loss of this sample alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

import transformers

from emprune.errors import ObservationError
from emprune.integrations.transformers import PrunedTrainer
from tests.integration.trainers import make_arguments

NUM_SAMPLES, LENGTH, VOCABULARY = 20, 6, 40
POSITION = torch.arange(NUM_SAMPLES)
TOKENS = (POSITION[:, None] * 7 + torch.arange(LENGTH) * (POSITION[:, None] + 3)) % (VOCABULARY - 2) + 2
MASK = torch.arange(LENGTH) < (LENGTH - POSITION[:, None] % 3)
SEQUENCES = {"input_ids": TOKENS.where(MASK, 1), "attention_mask": MASK.long()}
CHOICES = {
    "input_ids": torch.stack([SEQUENCES["input_ids"], SEQUENCES["input_ids"].roll(1, 0)], 1),
    "attention_mask": torch.stack([SEQUENCES["attention_mask"], SEQUENCES["attention_mask"].roll(1, 0)], 1),
}
ANSWERS = {"start_positions": POSITION % 3, "end_positions": POSITION % 3 + 1}
UNANSWERED = {name: labels.masked_fill(POSITION % 4 == 0, 0) for name, labels in ANSWERS.items()}
FLAGS = torch.stack([POSITION % 2, POSITION % 3 == 0, POSITION % 5 == 0], 1).float()
WORDS = (TOKENS % 3).masked_fill(~MASK, -100)
MASKED = TOKENS.masked_fill(torch.arange(LENGTH) % 3 != 0, -100)

CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Tensor]]] = {
    "answers": ("Bert", "QuestionAnswering", {}, ANSWERS),
    "answers of another head": ("DistilBert", "QuestionAnswering", {}, ANSWERS),
    "answers of a causal model": ("GPT2", "QuestionAnswering", {}, ANSWERS),
    "no answers": ("Roberta", "QuestionAnswering", {}, UNANSWERED),
    "a column of answers": ("Bert", "QuestionAnswering", {}, {k: v[:, None] for k, v in ANSWERS.items()}),
    "several labels": ("Bert", "SequenceClassification", {"num_labels": 3}, {"labels": FLAGS}),
    "several labels of another head": ("DistilBert", "SequenceClassification", {"num_labels": 3}, {"labels": FLAGS}),
    "several labels of a causal model": ("GPT2", "SequenceClassification", {"num_labels": 3}, {"labels": FLAGS}),
    "a number": ("Roberta", "SequenceClassification", {"num_labels": 1}, {"labels": POSITION / 7}),
    "a column of numbers": ("Bert", "SequenceClassification", {"num_labels": 1}, {"labels": POSITION[:, None] / 7}),
    "a number of a causal model": ("GPT2", "SequenceClassification", {"num_labels": 1}, {"labels": POSITION / 7}),
    "several numbers": (
        "Electra",
        "SequenceClassification",
        {"num_labels": 3, "problem_type": "regression"},
        {"labels": FLAGS * 2},
    ),
    "a class": ("Electra", "SequenceClassification", {"num_labels": 3}, {"labels": POSITION % 3}),
    "words": ("DistilBert", "TokenClassification", {"num_labels": 3}, {"labels": WORDS}),
    "masked words": ("Roberta", "MaskedLM", {}, {"labels": MASKED}),
    "a choice": ("Bert", "MultipleChoice", {}, {"labels": POSITION % 2}),
    "the next sentence": ("Bert", "NextSentencePrediction", {}, {"labels": POSITION % 2}),
}


def make_model(family: str, head: str, options: dict[str, Any]) -> Any:
    """A model of one layer, whose losses tell the samples apart."""
    sizes: dict[str, dict[str, Any]] = {
        "DistilBert": {"dim": 16, "hidden_dim": 16, "n_layers": 1, "n_heads": 2, "dropout": 0.0, "qa_dropout": 0.0},
        "GPT2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    }
    others = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
    own = sizes.get(family, {**others, **dropout})
    if family == "DistilBert":
        own |= {"attention_dropout": 0.0, "seq_classif_dropout": 0.0}
    if family == "Electra":
        own |= {"embedding_size": 16, "summary_last_dropout": 0.0}
    config = getattr(transformers, f"{family}Config")(vocab_size=VOCABULARY, pad_token_id=1, **own, **options)
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}For{head}")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


def train(folder: Path, model: Any, features: dict[str, Tensor], method: str) -> Any:
    data = [{name: values[i] for name, values in features.items()} for i in range(NUM_SAMPLES)]
    arguments = make_arguments(folder, learning_rate=0.0, num_train_epochs=3)
    trainer = PrunedTrainer(model, arguments, train_dataset=data, method=method, keep=0.5)
    trainer.train()
    return trainer


@pytest.mark.parametrize("case", CASES)
def test_a_samples_loss_is_the_heads_own_loss_of_it_alone(tmp_path: Path, case: str) -> None:
    family, head, options, labels = CASES[case]
    features = {**(CHOICES if head == "MultipleChoice" else SEQUENCES), **labels}
    method = "greedy" if "number" in case else "emp:beta=4"
    trainer = train(tmp_path, make_model(family, head, options), features, method)
    model = trainer.model.eval()
    with torch.no_grad():
        alone = [model(**{name: values[i : i + 1] for name, values in features.items()}).loss for i in POSITION]
    expected = torch.stack(alone).float()
    seen = trainer.pruner.stats.seen
    assert int(seen.sum()) >= 16
    assert expected.std() > 1e-3
    torch.testing.assert_close(trainer.pruner.stats["loss"][seen], expected[seen], rtol=1e-4, atol=1e-5)


def test_weights_make_the_heads_own_loss_of_the_weighted_samples(tmp_path: Path) -> None:
    """The mean over start and end, and over labels, is the head's: weights change nothing but the samples' parts."""
    for case in ("answers", "several labels", "a number"):
        family, head, options, labels = CASES[case]
        features = {**SEQUENCES, **labels}
        trainer = train(tmp_path, make_model(family, head, options), features, "infobatch:delta=1")
        plan = trainer.pruner.plan
        object.__setattr__(plan, "weight", torch.linspace(0.5, 3, len(plan)))
        index = plan.index[:4]
        batch = {name: values[index] for name, values in features.items()}
        model = trainer.model.train()
        loss = trainer.compute_loss(model, {**batch, "emprune_index": index})
        each = [model(**{name: values[i : i + 1] for name, values in features.items()}).loss for i in index]
        expected = (trainer.pruner.weights(index) * torch.stack(each)).mean()
        torch.testing.assert_close(loss, expected)


def test_a_head_of_two_losses_is_refused_by_its_labels(tmp_path: Path) -> None:
    labels = {"labels": MASKED, "next_sentence_label": POSITION % 2}
    with pytest.raises(ObservationError, match=r"one kind of labels.*'next_sentence_label'"):
        train(tmp_path, make_model("Bert", "PreTraining", {}), {**SEQUENCES, **labels}, "greedy")

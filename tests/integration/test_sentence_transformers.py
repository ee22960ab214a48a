"""sentence-transformers' trainer trains on the plan, runs the model once a step, and credits every loss to its row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("sentence_transformers", reason="needs emprune[sentence-transformers]")

from datasets import DatasetDict
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer

from emprune.errors import ConfigError
from emprune.integrations.sentence_transformers import PrunedSentenceTransformerTrainer
from emprune.integrations.transformers import INDEX_KEY
from emprune.testing import assert_same_state
from tests.integration.sentences import COLUMNS, NUM_ROWS, make_arguments, make_encoder, rows
from tests.messages import Raises

Losses = Callable[[list[Tensor], Tensor], Tensor]
SYMMETRIC: dict[str, Any] = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}


def make_trainer(
    folder: Path, make_loss: Any = losses.MultipleNegativesRankingLoss, *, data: Any = None, **options: Any
) -> Any:
    cls = options.pop("cls", PrunedSentenceTransformerTrainer)
    prune = {name: options.pop(name) for name in ("method", "keep", "seed", "pruner", "record") if name in options}
    if cls is not SentenceTransformerTrainer and "pruner" not in prune:
        prune = {"method": "greedy", "keep": 0.5, **prune}
    extra = {name: options.pop(name) for name in ("eval_dataset",) if name in options}
    model = make_encoder(folder / "encoder")
    loss = make_loss(model)
    data = rows() if data is None else data
    return cls(model, make_arguments(folder, **options), train_dataset=data, loss=loss, **extra, **prune)


def embedded(trainer: Any, index: Tensor) -> list[Tensor]:
    """(B, D) embeddings of each column of some rows."""
    batch = trainer.train_dataset[index.tolist()]
    columns = [name for name in COLUMNS if name in batch]
    return [torch.as_tensor(trainer.model.encode(batch[name], convert_to_tensor=True)) for name in columns]


def of_candidates(embeddings: list[Tensor], labels: Tensor) -> Tensor:
    """Each anchor's cross-entropy over all candidates of its batch, one by one."""
    candidates = torch.cat(embeddings[1:])
    each = []
    for row, anchor in enumerate(embeddings[0]):
        scores = 20 * F.cosine_similarity(anchor[None], candidates)
        each.append(-scores.log_softmax(0)[row])
    return torch.stack(each)


def both_ways(embeddings: list[Tensor], labels: Tensor) -> Tensor:
    anchors, positives = embeddings
    forwards = of_candidates([anchors, positives], labels)
    return (forwards + of_candidates([positives, anchors], labels)) / 2


def squared(embeddings: list[Tensor], labels: Tensor) -> Tensor:
    return (F.cosine_similarity(embeddings[0], embeddings[1]) - labels) ** 2


def absolute(embeddings: list[Tensor], labels: Tensor) -> Tensor:
    return (F.cosine_similarity(embeddings[0], embeddings[1]) - labels).abs()


def of_triplets(embeddings: list[Tensor], labels: Tensor) -> Tensor:
    anchor, positive, negative = embeddings
    return torch.relu(F.pairwise_distance(anchor, positive) - F.pairwise_distance(anchor, negative) + 5)


def contrasted(embeddings: list[Tensor], labels: Tensor) -> Tensor:
    distance = 1 - F.cosine_similarity(embeddings[0], embeddings[1])
    return (labels * distance**2 + (1 - labels) * (0.5 - distance).relu() ** 2) / 2


CASES: dict[str, tuple[Any, dict[str, Any], Losses]] = {
    "pairs": (losses.MultipleNegativesRankingLoss, {}, of_candidates),
    "triplets": (losses.MultipleNegativesRankingLoss, {"columns": 3}, of_candidates),
    "symmetric": (lambda model: losses.MultipleNegativesRankingLoss(model, **SYMMETRIC), {}, both_ways),
    "symmetric by its old name": (losses.MultipleNegativesSymmetricRankingLoss, {}, both_ways),
    "similarity": (losses.CosineSimilarityLoss, {"labels": True}, squared),
    "another distance": (
        lambda model: losses.CosineSimilarityLoss(model, torch.nn.L1Loss()),
        {"labels": True},
        absolute,
    ),
    "margin": (losses.TripletLoss, {"columns": 3}, of_triplets),
    "contrast": (losses.ContrastiveLoss, {"labels": True}, contrasted),
}


@pytest.mark.filterwarnings("ignore:.*MultipleNegativesSymmetricRankingLoss.*:Warning")
@pytest.mark.parametrize("case", CASES)
def test_every_loss_is_its_own_rows(tmp_path: Path, case: str) -> None:
    """At learning rate 0 the losses of a batch, one by one, are what was observed of it."""
    make_loss, form, expected_of = CASES[case]
    batches: list[Tensor] = []

    class Recording(PrunedSentenceTransformerTrainer):
        def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            batches.append(inputs[INDEX_KEY].clone())
            return super().compute_loss(model, inputs, *args, **kwargs)

    trainer = make_trainer(tmp_path, make_loss, data=rows(**form), cls=Recording)
    trainer.train()
    pruner = trainer.pruner
    assert int(pruner.visits.sum()) == sum(pruner.schedule.num_kept_per_epoch(multiple_of=4))
    assert sum(map(len, batches)) == int(pruner.visits.sum())
    expected = torch.full((NUM_ROWS,), float("nan"))
    trainer.model.eval()
    for index in batches:  # the last batch that a row was in says its loss
        labels = torch.tensor(trainer.train_dataset[index.tolist()].get("label", [0.0] * len(index)))
        expected[index] = expected_of(embedded(trainer, index), labels)
    seen = pruner.stats.seen
    assert int(seen.sum()) >= 20
    assert expected[seen].std() > 1e-3
    torch.testing.assert_close(pruner.stats["loss"][seen], expected[seen], rtol=1e-4, atol=1e-5)


def test_emps_memory_term_is_the_entropy_among_the_candidates(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, method="emp", num_train_epochs=1, keep=1.0)
    trainer.train()
    trainer.model.eval()
    for index in trainer.pruner.plan.index.split(4):
        anchors, positives = embedded(trainer, index)
        log_p = (20 * F.cosine_similarity(anchors[:, None], positives[None], dim=2)).log_softmax(1)
        expected = -(log_p.exp() * log_p).sum(1)
        torch.testing.assert_close(trainer.pruner.stats["memory"][index], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", ["full", "random-permutation", "greedy", "infobatch:delta=1", "emp"])
def test_the_model_runs_as_often_as_without_pruning(tmp_path: Path, spec: str) -> None:
    pruned = make_trainer(tmp_path, method=spec, keep=None if spec == "full" else 0.5)
    vanilla = make_trainer(tmp_path, cls=SentenceTransformerTrainer)
    passes = {trainer: list[int]() for trainer in (pruned, vanilla)}
    for trainer, found in passes.items():
        trainer.model.register_forward_hook(lambda *_, found=found: found.append(1))
        trainer.train()
    a_step = {len(found) // trainer.state.global_step for trainer, found in passes.items()}
    assert len(a_step) == 1
    assert all(len(found) % trainer.state.global_step == 0 for trainer, found in passes.items())


def test_full_trains_as_the_package_does(tmp_path: Path) -> None:
    """On batches of all rows, in another order. Adam would make much of a gradient that is 0 but for its rounding."""
    options: dict[str, Any] = {"learning_rate": 1e-2, "per_device_train_batch_size": NUM_ROWS, "optim": "sgd"}
    trainers = [
        make_trainer(tmp_path, method="greedy", keep=1.0, **options),
        make_trainer(tmp_path, cls=SentenceTransformerTrainer, **options),
    ]
    start = trainers[0].model.state_dict()["0.model.embeddings.word_embeddings.weight"].clone()
    for trainer in trainers:
        trainer.train()
    ours, theirs = (trainer.model.state_dict() for trainer in trainers)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-4)
    assert not ours["0.model.embeddings.word_embeddings.weight"].equal(start)


@pytest.mark.parametrize("case", ["pairs", "similarity"])
def test_weights_multiply_the_rows_losses(tmp_path: Path, case: str) -> None:
    make_loss, form, expected_of = CASES[case]
    trainer = make_trainer(tmp_path, make_loss, data=rows(**form), method="infobatch:delta=1")
    trainer.train()
    plan = trainer.pruner.plan
    assert plan.weight is not None
    heavy = int(plan.weight.argmax())
    index = plan.index[torch.tensor([heavy, (heavy + 1) % len(plan), (heavy + 2) % len(plan)])]
    batch = trainer.data_collator([trainer.train_dataset[position] for position in index.tolist()])
    loss = trainer.compute_loss(trainer.model.train(), {**batch, INDEX_KEY: index})
    labels = torch.tensor(trainer.train_dataset[index.tolist()].get("label", [0.0] * 3))
    trainer.model.eval()
    expected = (trainer.pruner.weights(index) * expected_of(embedded(trainer, index), labels)).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert loss.requires_grad


@pytest.mark.parametrize(
    ("make_loss", "method"),
    [
        (losses.CoSENTLoss, "greedy"),
        (losses.CachedMultipleNegativesRankingLoss, "greedy"),
        (
            lambda model: losses.MatryoshkaLoss(model, losses.MultipleNegativesRankingLoss(model), [8, 16]),
            "infobatch:delta=1",
        ),
        (lambda model: losses.ContrastiveLoss(model, size_average=False), "greedy"),
        (losses.CosineSimilarityLoss, "emp"),
        (lambda model: losses.MultipleNegativesRankingLoss(model, **SYMMETRIC), "emp"),
    ],
    ids=["CoSENTLoss", "CachedMultipleNegativesRankingLoss", "MatryoshkaLoss", "a sum", "no choice", "two choices"],
)
def test_a_loss_without_parts_is_refused_by_its_name_and_the_advice_works(
    tmp_path: Path, make_loss: Any, method: str, raises: Raises
) -> None:
    name = type(make_loss(make_encoder(tmp_path / "named"))).__name__
    data = rows(labels="Ranking" not in name and "Matryoshka" not in name)
    with raises(ConfigError, parameter="loss", value=name):
        make_trainer(tmp_path, make_loss, data=data, method=method)
    advised = make_trainer(tmp_path, make_loss, data=data, method="random-permutation")
    advised.train()
    assert advised.state.global_step == advised.state.max_steps == 9


def test_what_contradicts_the_plan_is_refused(tmp_path: Path, raises: Raises) -> None:
    with raises(ConfigError, parameter="batch_sampler", value="no_duplicates"):
        make_trainer(tmp_path, batch_sampler=BatchSamplers.NO_DUPLICATES)
    with raises(ConfigError, parameter="train_dataset", value="DatasetDict"):
        make_trainer(tmp_path, data=DatasetDict({"one": rows(), "two": rows()}))


def test_evaluations_and_the_gap_are_measured(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, method="emp:pool=gap", eval_strategy="epoch", eval_dataset=rows())
    trainer.train()
    logged = {name for entry in trainer.state.log_history for name in entry}
    assert {"eval_loss", "probe_loss", "kept_fraction"} <= logged


def test_a_run_resumes_within_an_epoch(tmp_path: Path) -> None:
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 4, "learning_rate": 1e-2}
    whole = make_trainer(tmp_path, **options)
    whole.train()
    resumed = make_trainer(tmp_path, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
    assert_same_state(whole.pruner.state_dict(), resumed.pruner.state_dict())


def test_the_choice_among_candidates_is_recorded_and_another_loss_is_refused(tmp_path: Path, raises: Raises) -> None:
    trainer = make_trainer(tmp_path, method="greedy", record="all")
    trainer.train()
    trainer.pruner.sync()
    assert trainer.pruner.suspects(3).by == ("mean_margin",)
    with raises(ConfigError, parameter="record"):
        make_trainer(tmp_path, losses.CosineSimilarityLoss, data=rows(labels=True), method="greedy", record="all")

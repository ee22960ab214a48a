"""Weights beside other things: what is set aside, and selections that a method would hold."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import emprune
from tests.unit.support import chosen, nan

NUM_SAMPLES = 100


def make_pruner(method: str, **options: Any) -> emprune.DataPruner:
    return emprune.DataPruner(
        method, num_samples=NUM_SAMPLES, num_epochs=40, keep=0.1, weights=[1.0] * NUM_SAMPLES, **options
    )


@pytest.mark.parametrize("method", ["ucb", "epsilon-greedy"])
def test_no_selection_is_held_where_weights_draw_the_candidates_of_each_epoch(method: str) -> None:
    losses = torch.rand(NUM_SAMPLES)
    plans: list[list[list[int]]] = []
    for replan_every in (1, 10):
        pruner = make_pruner(f"{method}:replan_every={replan_every}")
        plans.append([])
        for epoch in range(pruner.num_epochs):
            index = pruner.begin_epoch(epoch).index
            pruner.observe(index, losses[index])
            plans[-1].append(index.tolist())
    assert plans[0] == plans[1]


@pytest.mark.parametrize("quota", [None, "equal"], ids=["all data", "groups"])
def test_what_a_guard_sets_aside_is_no_candidate_while_others_are_left(quota: emprune.groups.QuotaName | None) -> None:
    labels = (torch.arange(NUM_SAMPLES) % 5 < 3).long()  # 60 of 100 are predicted wrong, always
    groups = None if quota is None else emprune.Groups(torch.arange(NUM_SAMPLES) % 2, quota=quota)
    pruner = make_pruner("greedy", guard=1, groups=groups)
    for epoch in range(pruner.num_epochs):
        index = pruner.begin_epoch(epoch).index
        if epoch >= 30:
            assert labels[index].sum() == 0
        logits = torch.tensor([2.0, 0.0]).expand(len(index), 2)
        pruner.observe(index, F.cross_entropy(logits, labels[index], reduction="none"), logits)


def test_what_is_given_up_is_no_candidate_while_others_are_left() -> None:
    never_finite = torch.arange(NUM_SAMPLES) < 60
    pruner = make_pruner("greedy", nonfinite="skip")
    for epoch in range(pruner.num_epochs):
        index = pruner.begin_epoch(epoch).index
        if epoch >= 35:
            assert not never_finite[index].any()
        pruner.observe(index, torch.ones(len(index)).masked_fill(never_finite[index], nan))


def test_what_is_set_aside_is_a_candidate_where_too_few_others_are_left() -> None:
    never_finite = torch.arange(NUM_SAMPLES) < 95
    pruner = make_pruner("greedy", nonfinite="skip")
    for epoch in range(pruner.num_epochs):
        index = pruner.begin_epoch(epoch).index
        pruner.observe(index, torch.ones(len(index)).masked_fill(never_finite[index], nan))
    assert {95, 96, 97, 98, 99} < chosen(pruner.plan)

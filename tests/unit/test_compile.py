"""torch.compile around the model and its loss."""

import torch
import torch.nn.functional as F
from torch import Tensor

import emprune
from emprune.testing import assert_same_state
from tests.messages import Raises
from tests.unit.support import make_pruner


def test_a_compiled_loss_is_observed_as_any_other() -> None:
    model = torch.nn.Linear(4, 3)
    inputs, labels = torch.randn(10, 4), torch.arange(10) % 3

    def forward(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(x)
        return F.cross_entropy(logits, y, reduction="none"), logits

    compiled = torch.compile(forward, backend="eager", fullgraph=True)
    plain, pruner = make_pruner(emprune.EMP()), make_pruner(emprune.EMP())
    for epoch in range(2):
        index = pruner.begin_epoch(epoch).index
        assert plain.begin_epoch(epoch) == pruner.plan
        gradients = []
        for each, run in ((plain, forward), (pruner, compiled)):
            model.zero_grad()
            losses, logits = run(inputs[index], labels[index])
            each.reduce(index, losses, logits).backward()
            assert model.weight.grad is not None
            gradients.append(model.weight.grad.clone())
        assert gradients[0].allclose(gradients[1])
    assert_same_state(pruner.state_dict(), plain.state_dict())


def test_a_compiled_step_observes_out_of_turn(raises: Raises) -> None:
    pruner = make_pruner(num_samples=20)
    step = torch.compile(pruner.reduce, backend="eager")
    for number, index in enumerate(pruner.begin_epoch(0).index.split(5)):
        if number == 1:
            pruner.sync()
        step(index, index.float())
    pruner.sync()
    index = pruner.plan.index
    assert pruner.stats["loss"][index].equal(index.float())
    with raises(emprune.errors.ObservationError, parameter="index", value=-1):
        step(torch.tensor([-1]), torch.ones(1))

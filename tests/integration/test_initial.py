"""A run that starts from an earlier run's columns, in each framework: its first epoch is chosen by what they hold."""

from pathlib import Path
from typing import Any

import pytest
import torch

import emprune
from tests.integration import runs

LOSSES = runs.identifying(torch.arange(runs.NUM_SAMPLES)) + 1


def earlier(losses: torch.Tensor = LOSSES) -> dict[str, Any]:
    """The state of a run that saw these losses."""
    pruner = emprune.DataPruner("full", num_samples=len(losses), num_epochs=1)
    index = pruner.begin_epoch(0).index
    pruner.observe(index, losses[index])
    return pruner.state_dict()


def hardest(num_kept: int, losses: torch.Tensor = LOSSES) -> list[int]:
    return sorted(losses.topk(num_kept).indices.tolist())


@pytest.mark.usefixtures("fresh_accelerate")
def test_accelerate() -> None:
    from emprune.integrations.accelerate import prepare
    from tests.integration.accelerated import make_accelerator

    options: Any = {"num_epochs": 3, "keep": 0.4, "initial": earlier()}
    loader = prepare(make_accelerator(), runs.make_dataloader(), "greedy", **options)
    loader.set_epoch(0)
    assert sorted(i for index, _ in loader for i in index.tolist()) == hardest(20)


def test_lightning() -> None:
    pytest.importorskip("lightning")
    from emprune.integrations.lightning import prepare
    from tests.integration.lightning_module import Module, make_trainer

    class Started(Module):
        def setup(self, stage: str) -> None:
            options: Any = {"keep": 0.4, "initial": earlier()}
            self.loader = prepare(self.trainer, runs.make_dataloader(), "greedy", **options)
            self.pruner = self.loader.pruner

    module = Started()
    make_trainer().fit(module)
    assert sorted(module.result.delivered[0]) == hardest(20)


def test_the_trainer(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs emprune[transformers]")
    from tests.integration.trainers import NUM_SAMPLES, make_pruner, make_trainer

    losses = torch.rand(NUM_SAMPLES)
    trainer = make_trainer(tmp_path, make_pruner(emprune.Greedy(), tail_epochs=0, initial=earlier(losses)))
    trainer.train()
    first = trainer.delivered[0]
    assert sorted(first) == hardest(len(first), losses)

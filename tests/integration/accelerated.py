"""The run of `runs` in accelerate's words."""

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch.utils.data import DataLoader

import emprune
from emprune.integrations.accelerate import prepare
from tests.integration import runs


def forget(*, processes: bool = True) -> None:
    """accelerate keeps its state in the process."""
    AcceleratorState._reset_state(reset_partial_state=processes)
    GradientState._reset_state()


def make_accelerator(**options: Any) -> Accelerator:
    return Accelerator(cpu=True, step_scheduler_with_optimizer=False, **options)


class Run:
    """An accelerated training run."""

    def __init__(
        self,
        accelerator: Accelerator,
        pruner: emprune.DataPruner,
        dataloader: DataLoader[Any] | None = None,
        *,
        identify: bool = False,
    ) -> None:
        self.accelerator, self.pruner, self.identify = accelerator, pruner, identify
        self.loader = prepare(accelerator, dataloader or runs.make_dataloader(), pruner)
        model = runs.make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
        scheduler = runs.make_scheduler(optimizer, self.loader.total_steps)
        self.model, self.optimizer, self.scheduler = accelerator.prepare(model, optimizer, scheduler)
        self.result = runs.Result()

    def finish(self, *, stop_after: int | None = None) -> runs.Result:
        """Train to the end, or until so many batches are trained on."""
        num_batches = 0
        for _ in self.loader.epochs():
            self.result.plans.append(self.pruner.plan.index.tolist())
            self.result.delivered.append([])
            for index, batch in self.loader:
                self.result.delivered[-1] += index.tolist()
                self._train(index, batch)
                num_batches += 1
                if num_batches == stop_after:
                    return self.result
        self.result.weights = [parameter.detach().clone() for parameter in self.model.parameters()]
        self.result.learning_rate = float(self.scheduler.get_last_lr()[0])
        return self.result

    def _train(self, index: torch.Tensor, batch: Any) -> None:
        with self.accelerator.accumulate(self.model):
            loss = runs.reduce(self.pruner, self.model, index, batch, identify=self.identify)
            self.accelerator.backward(loss)
            self.optimizer.step()
            if self.accelerator.sync_gradients:
                self.scheduler.step()
                self.result.num_steps += 1
            self.optimizer.zero_grad()

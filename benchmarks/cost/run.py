"""A run without a model: made-up losses and logits, observed in batches as a training loop would."""

from collections.abc import Iterator

import torch
from emprune_lab.method_spec import MethodSpec
from torch import Tensor

from emprune import DataPruner, EpochPlan, Groups
from emprune.methods import Method, ReducibleLoss

__all__ = ["BATCH_SIZE", "KEEP", "NUM_CLASSES", "Run"]

BATCH_SIZE, NUM_CLASSES, KEEP = 256, 10, 0.3
_NUM_EPOCHS = 1000
_BANK = 64


class Run:
    """A pruner whose every sample is observed in every epoch it is planned for.

    Args:
        method: A method and its options, such as "emp:pool=2", with a quota of each of ten groups after an "@", as in
            "emp@equal", or with sampling weights, as in "random by weights".
        num_samples: N.
        keep: The pruner's `keep`.
        device: Where the losses and logits are.
    """

    def __init__(self, method: str, num_samples: int, *, keep: float = KEEP, device: str = "cpu") -> None:
        method, _, weighted = method.partition(" by ")
        draws = torch.Generator().manual_seed(1)
        self.pruner = DataPruner(
            _method(method, num_samples),
            num_samples=num_samples,
            num_epochs=_NUM_EPOCHS,
            keep=keep,
            tail_epochs=0,
            groups=_groups(method, torch.randint(0, NUM_CLASSES, (num_samples,), generator=draws)),
            weights=torch.rand(num_samples, generator=draws) + 0.1 if weighted else None,
        )
        self._device = device
        self._generator = torch.Generator(device).manual_seed(0)
        self._bank = torch.randn(_BANK, BATCH_SIZE, NUM_CLASSES, generator=self._generator, device=device) * 3

    def plan(self) -> EpochPlan:
        """Plan the next epoch, the fold of the last one's observations included."""
        return self.pruner.begin_epoch(self.pruner.epoch + 1, multiple_of=self.pruner.world_size * BATCH_SIZE)

    def observe(self) -> None:
        """Observe this rank's share of the planned epoch."""
        share = self.pruner.plan.shard(self.pruner.rank, self.pruner.world_size)
        for index, losses, logits in self._batches(share):
            self.pruner.observe(index, losses, logits)
        self.pruner.observe_validation(1.0, train_loss=1.0)  # no gap: the widest pool

    def warm_up(self) -> None:
        """Go on until every sample has been observed: from then on an epoch is like any other."""
        while not bool(self.pruner.stats.seen.all()):
            self.plan()
            self.observe()
            if self.pruner.epoch >= 1 / KEEP:
                self.pruner.sync()

    def _batches(self, plan: EpochPlan) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for number, index in enumerate(plan.index.split(BATCH_SIZE)):
            losses = torch.empty(len(index), device=self._device).exponential_(generator=self._generator)
            yield index, losses, self._bank[number % _BANK, : len(index)]


def _method(text: str, num_samples: int) -> Method:
    """Make a method; one that needs values from outside gets made-up ones."""
    if text == ReducibleLoss.name:
        return ReducibleLoss(torch.rand(num_samples, generator=torch.Generator().manual_seed(0)))
    return MethodSpec.parse(text).make()


def _groups(text: str, labels: Tensor) -> Groups | None:
    """Return the quotas that a method's text asks for."""
    return MethodSpec.parse(text).groups(labels) if "@" in text else None

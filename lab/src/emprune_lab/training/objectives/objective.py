"""What differs between runs that share a training loop: what a batch is made into, what it costs, what is scored."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from emprune.randomness import derive_generator
from emprune_lab.compute import Compute
from emprune_lab.settings import RunConfig
from emprune_lab.tasks import ImageTask, Split, Splits

__all__ = ["EVALUATION_BATCH", "Losses", "Network", "Objective", "curve_epochs", "evenly", "tested_epochs"]

EVALUATION_BATCH = 250
"""What fits the caches of a CPU: of our networks a larger batch takes half as long again per sample there."""

PROBE_SIZE = 1000

Network: TypeAlias = Callable[[Tensor], Any]
"""The model, or what it was compiled or wrapped into."""


def evenly(num_epochs: int, *, times: int) -> set[int]:
    """Return so many epochs spread evenly over a run, the last among them; all where there are not more.

    Example:
        >>> sorted(evenly(10, times=4))
        [2, 4, 7, 9]
    """
    return {math.ceil(num_epochs * part / times) - 1 for part in range(1, times + 1)}


def tested_epochs(config: RunConfig) -> set[int]:
    """Return the epochs after which to score the test set: the last of each quarter, or of the run, if it validates."""
    return evenly(config.epochs, times=4 if config.validation == 0 else 1)


def curve_epochs(num_epochs: int) -> set[int]:
    """Return the epochs after which to measure what a curve is drawn of: all of a short run, 20 of a longer one.

    After every epoch it would cost more than the training, where little is kept.
    """
    return evenly(num_epochs, times=20)


@dataclass(frozen=True)
class Losses:
    """What a step makes of a batch.

    Args:
        optimised: (B,) what the optimizer lowers, with a graph.
        scored: (B,) what a method's score sees, without one.
        outputs: What EMP's memory term is measured on.
    """

    optimised: Tensor
    scored: Tensor
    outputs: Any


@dataclass(frozen=True)
class Objective(ABC):
    """What a run is trained for. It holds no state: the loop, the optimizer and the checkpoint know nothing of it.

    Args:
        config: The run's settings.
        task: Its task.
        compute: Where it computes.
    """

    config: RunConfig
    task: ImageTask
    compute: Compute
    whole_batches: ClassVar[bool] = False
    """Whether a short batch would be another problem than a whole one."""

    @abstractmethod
    def make_model(self) -> nn.Module:
        """Return the model with fresh weights, from torch's global generator."""

    @abstractmethod
    def arrays(self, train: Split) -> tuple[Tensor, ...]:
        """Return the arrays that batches are taken from, (N, ...) each."""

    @abstractmethod
    def transform(self, generator: torch.Generator, *arrays: Tensor) -> Sequence[Tensor]:
        """Make a batch of `arrays` into what `losses` takes; all randomness is the generator's."""

    @abstractmethod
    def losses(self, network: Network, batch: Sequence[Tensor]) -> Losses:
        """Return the losses of a batch of the loader. The network is called once, as DistributedDataParallel needs."""

    @abstractmethod
    def predict(self, network: Network, x: Tensor) -> Tensor:
        """Return what is scored of a normalised batch of images (B, C, H, W), (B, ...) float32."""

    @abstractmethod
    def score(self, model: nn.Module, split: Split, *, train: Split) -> dict[str, Any]:
        """Score a model on a split; `train` is what it was trained on.

        Returns:
            `accuracy`, in per cent, `loss`, and whatever else there is.
        """

    @abstractmethod
    def test_epochs(self) -> set[int]:
        """Return the epochs after which the test set is scored, the last among them."""

    @abstractmethod
    def validation_epochs(self) -> set[int]:
        """Return the epochs after which a validation part is scored, the last among them."""

    def probe_epochs(self) -> set[int]:
        """Return the epochs after which the loss on a probe of the training data is measured; none by default."""
        return set()

    def probe(self, train: Split) -> Split:
        """Return that probe: the same for all methods of one seed on one training set."""
        order = torch.randperm(len(train), generator=derive_generator(self.config.seed, "probe"))
        return train.take(order[:PROBE_SIZE])

    @abstractmethod
    def check_ranks(self, world_size: int) -> None:
        """Raise ConfigError if so many ranks cannot share the run."""

    def num_scored(self, splits: Splits) -> int:
        """Return how many images the run's scoring takes through the model."""
        validation = 0 if splits.validation is None else len(splits.validation)
        probed = min(PROBE_SIZE, len(splits.train)) * len(self.probe_epochs())
        return len(splits.test) * len(self.test_epochs()) + validation * len(self.validation_epochs()) + probed

    def run(self, network: Network, x: Tensor) -> Any:
        """Return what a network makes of images (B, C, H, W), in the run's precision."""
        with self.compute.autocast():
            return network(x.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def predict_all(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return `predict` of raw images (M, C, H, W) uint8, of the model in evaluation mode, batch by batch."""
        model.eval()
        predicted = [self.predict(model, self.task.normalise(part)) for part in x.split(EVALUATION_BATCH)]
        model.train()
        return torch.cat(predicted)

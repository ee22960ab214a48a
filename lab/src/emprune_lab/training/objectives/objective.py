"""What differs between runs that share a training loop: what a batch is made into, what it costs, what is scored."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from emprune_lab.compute import Compute
from emprune_lab.data.splits import Split
from emprune_lab.declaration import TrainingSettings
from emprune_lab.tasks import ImageTask

__all__ = ["EVALUATION_BATCH", "ImageObjective", "Losses", "Network", "Objective"]

EVALUATION_BATCH = 250
"""What fits the caches of a CPU: of our networks a larger batch takes half as long again per sample there."""

Network: TypeAlias = Callable[[Tensor], Any]
"""The model, or what it was compiled or wrapped into."""


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
        task: The run's task.
        compute: Where it computes.
        training: The settings of its training.
        check_stop: Called between the batches of scoring, which it ends by an exception.
    """

    task: Any  # an ImageTask or a BlockTask: each objective says which
    compute: Compute
    training: TrainingSettings
    check_stop: Callable[[], object]
    evaluation_batch: ClassVar[int] = EVALUATION_BATCH

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
        """Return what is scored of a batch that `prepared` returned, (B, ...) float32."""

    @abstractmethod
    def score(self, model: nn.Module, split: Split, *, train: Split) -> dict[str, Any]:
        """Score a model on a split; `train` is what it was trained on.

        Returns:
            `accuracy`, in per cent, `loss`, and whatever else there is.
        """

    @abstractmethod
    def prepared(self, x: Tensor) -> Tensor:
        """Return samples as they are stored, (B, ...), as a network takes them to be scored."""

    def run(self, network: Network, x: Tensor) -> Any:
        """Return what a network makes of prepared samples (B, ...), in the run's precision."""
        with self.compute.autocast():
            return network(x)

    @torch.no_grad()
    def predict_all(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return `predict` of samples as they are stored, (M, ...), of the model in evaluation mode, batch by batch."""
        model.eval()
        predicted = []
        for part in x.split(self.evaluation_batch):
            self.check_stop()
            predicted.append(self.predict(model, self.prepared(part)))
        model.train()
        return torch.cat(predicted)


@dataclass(frozen=True)
class ImageObjective(Objective):
    """An objective on images (B, C, H, W) uint8, which are normalised, and lie in memory channels last."""

    task: ImageTask

    def prepared(self, x: Tensor) -> Tensor:
        """Return the images normalised."""
        return self.task.normalise(x)

    def run(self, network: Network, x: Tensor) -> Any:
        """Return what a network makes of normalised images, in the run's precision."""
        return super().run(network, x.contiguous(memory_format=torch.channels_last))

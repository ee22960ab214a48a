"""sentence-transformers: `PrunedSentenceTransformerTrainer` prunes pairs with two more arguments.

A loss of this package is one number for a batch. The known ones take the mean of one loss for each row, in their
`compute_loss_from_embeddings`. What they take the mean of is kept there, so nothing runs twice and no loss is written
again::

    MultipleNegativesRankingLoss     -(positive - logsumexp(scores)).mean()
    TripletLoss, ContrastiveLoss     losses.mean()
    CosineSimilarityLoss             mse_loss(similarity, labels, reduction="mean")
                                              ^ kept: (B,), a loss for each row
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import BatchSampler, DataLoader, Subset

try:
    from sentence_transformers.base.sampler import BatchSamplers, DefaultBatchSampler
    from sentence_transformers.sentence_transformer.losses import (
        ContrastiveLoss,
        CosineSimilarityLoss,
        MultipleNegativesRankingLoss,
        TripletLoss,
    )
    from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing not in ("sentence_transformers", "datasets"):
        raise
    raise ModuleNotFoundError(
        "emprune.integrations.sentence_transformers needs the package 'sentence-transformers', 6.2 or later: "
        "pip install 'emprune[sentence-transformers]'",
        name=missing,
    ) from error

from emprune.errors import ConfigError, ObservationError
from emprune.integrations.trainer_setup import check_positions
from emprune.integrations.transformers import PrunedTrainerMixin

if not hasattr(MultipleNegativesRankingLoss, "compute_loss_from_embeddings"):
    raise ImportError(
        "emprune.integrations.sentence_transformers needs sentence-transformers 6.2 or later: "
        "pip install --upgrade 'emprune[sentence-transformers]'"
    )

__all__ = ["PrunedSentenceTransformerTrainer"]

_KNOWN = (MultipleNegativesRankingLoss, CosineSimilarityLoss, TripletLoss, ContrastiveLoss)
"""The losses that are a mean of one loss for each row."""


class PrunedSentenceTransformerTrainer(PrunedTrainerMixin, SentenceTransformerTrainer):
    """The SentenceTransformerTrainer on a plan: ``PrunedSentenceTransformerTrainer(..., method="greedy", keep=0.3)``.

    A sample is a row of `train_dataset`: a pair, a triplet, or more. Its loss is the row's part of the trained loss.
    With MultipleNegativesRankingLoss this is the anchor's cross-entropy over the batch's candidates, and depends on
    them. EMP's memory term is then the entropy of this choice among candidates.

    Args:
        *args: What SentenceTransformerTrainer takes.
        **kwargs: What it takes, `method`, and what `PrunedLoader` takes beside a method, such as `keep`.

    Raises:
        ConfigError: If the loss has no part for each row and the method needs losses, there are several data sets, or
            another argument contradicts the plan.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._check_loss()

    def observation(self, outputs: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Any]:
        """Return each row's loss, and (B, C) scores of the candidates if a memory term needs them."""
        needed = self.pruner.method.needs_outputs or self.pruner.recording.needs_outputs
        scores = outputs.scores.detach() if needed else None
        return outputs.losses.detach().float(), scores

    def get_batch_sampler(self, *args: Any, **kwargs: Any) -> BatchSampler | None:
        """Return the batches of `BatchSamplers.BATCH_SAMPLER` as what they are, torch's own."""
        batches = super().get_batch_sampler(*args, **kwargs)
        if type(batches) is not DefaultBatchSampler:
            return batches
        return BatchSampler(batches.sampler, batches.batch_size, batches.drop_last)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """Return the DataLoader of test data, which may be a Subset of a Dataset."""
        if isinstance(test_dataset, Subset):
            whole: Any = test_dataset.dataset
            test_dataset = whole.select(test_dataset.indices)
        loader: DataLoader[Any] = super().get_test_dataloader(test_dataset)
        return loader

    def _loss_and_outputs(self, compute: Callable[..., Any], model: nn.Module) -> tuple[Tensor, Any]:
        with _watched(self.loss) as parts:
            loss = compute(return_outputs=False)
        return loss, parts

    def _summed_losses(self, outputs: Any, inputs: Mapping[str, Any]) -> Tensor:
        losses: Tensor = outputs.losses.float()
        return losses

    def _validate_args(self) -> None:
        if isinstance(self.train_dataset, Mapping):
            raise ConfigError(
                "`train_dataset` must be one Dataset, because the plan chooses among its rows; got a "
                f"{type(self.train_dataset).__name__} of {len(self.train_dataset)}. Join them: "
                "datasets.concatenate_datasets([...]).",
                parameter="train_dataset",
                value=self.train_dataset,
            )
        super()._validate_args()

    def _check_arguments(self) -> None:
        super()._check_arguments()
        check_positions(self.train_dataset, streams=False)
        found = self.args.batch_sampler
        if found != BatchSamplers.BATCH_SAMPLER:
            raise ConfigError(
                "`batch_sampler` must stay 'batch_sampler', because the plan says which samples share a batch; got "
                f"{getattr(found, 'value', found)!r}. Leave it out. Take duplicates out of the data beforehand.",
                parameter="batch_sampler",
                value=found,
            )

    def _check_loss(self) -> None:
        loss, method = self.loss, self.pruner.method
        if not self._observes:
            return
        summed = isinstance(loss, ContrastiveLoss) and not loss.size_average
        if not isinstance(loss, _KNOWN) or summed:
            raise ConfigError(
                f"`loss` must be a mean of the rows' losses, because {method.name} needs a loss for each; got "
                f"{type(loss).__name__}{' with size_average=False' if summed else ''}. Use "
                f"{', '.join(known.__name__ for known in _KNOWN[:-1])} or {_KNOWN[-1].__name__}. Or use a method "
                "without losses, such as RandomPermutation.",
                parameter="loss",
                value=loss,
            )
        choice = isinstance(loss, MultipleNegativesRankingLoss) and loss.directions == ("query_to_doc",)
        if method.needs_outputs and not choice:
            raise ConfigError(
                f"`loss` must be a choice among candidates, because {method.name}'s memory term is an entropy; got "
                f"{type(loss).__name__}. Use MultipleNegativesRankingLoss with its default `directions`, or a method "
                "that needs losses alone, such as Greedy or OrderDP.",
                parameter="loss",
                value=loss,
            )
        if not choice:
            what = f"{type(loss).__name__}, which is no choice among candidates"
            self.pruner.recording.check_without_predictions(what)


class _Parts(TorchFunctionMode):
    """What a loss takes its mean of, and the scores that it normalises, while this is entered."""

    def __init__(self, *, negated: bool) -> None:
        super().__init__()
        self._sign = -1 if negated else 1
        self._averaged = list[Tensor]()
        self._scores = list[Tensor]()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function in (Tensor.mean, torch.mean) and result.ndim == 0:
            self._averaged.append(args[0])
        elif kwargs.get("reduction") == "mean":
            self._averaged.append(function(*args, **{**kwargs, "reduction": "none"}))
        elif function is torch.logsumexp:
            self._scores.append(args[0])
        return result

    @property
    def losses(self) -> Tensor:
        """(B,) losses, with their graph."""
        if len(self._averaged) != 1 or self._averaged[0].ndim != 1:
            found = [tuple(each.shape) for each in self._averaged]
            raise ObservationError(
                f"`loss` must take one mean, of (B,) losses; got means of {found}. Use the loss as its class has it, "
                "or a method without losses, such as RandomPermutation."
            )
        return self._sign * self._averaged[0]

    @property
    def scores(self) -> Tensor:
        """(B, C) logits of each row's candidates."""
        return self._scores[-1]


@contextmanager
def _watched(loss: Any) -> Iterator[_Parts]:
    """Keep the parts of a loss; the model before it runs as it always does."""
    parts = _Parts(negated=isinstance(loss, MultipleNegativesRankingLoss))
    compute = loss.compute_loss_from_embeddings

    def watched(*args: Any, **kwargs: Any) -> Tensor:
        with parts:
            result: Tensor = compute(*args, **kwargs)
        return result

    loss.compute_loss_from_embeddings = watched
    try:
        yield parts
    finally:
        del loss.compute_loss_from_embeddings

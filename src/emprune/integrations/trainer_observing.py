"""The Trainer's loss: sample by sample for the pruner to observe, and weighted where the plan has weights."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Trainer

from emprune.errors import ObservationError
from emprune.integrations.trainer_losses import Predictions, check_rows
from emprune.integrations.trainer_setup import INDEX_KEY, LEFT_OUT_KEY, predicts_next, problem_type
from emprune.integrations.trainer_weights import check_weightable, reweighted
from emprune.pruner import DataPruner

__all__ = ["ObservingTrainer"]


class ObservingTrainer(Trainer):
    """A Trainer that observes each sample of a training batch with an index, and weights its loss by the plan."""

    pruner: DataPruner
    """The pruner; a Trainer that makes it has it as soon as it is made itself."""
    always_observe: ClassVar[bool] = False
    """Whether methods that need no losses are observed too, for a comparison; it costs what the others' cost."""

    def observation(self, outputs: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Any]:
        """Return what the pruner sees of a batch: (B,) losses, and the outputs a memory term is measured from.

        Override it for a task of your own.

        Args:
            outputs: What the model returned.
            inputs: The batch, labels included.

        Raises:
            ObservationError: If logits or labels are missing, or of a form that has no known loss for each sample.
        """
        predictions = self._predictions(outputs, inputs)
        seen = predictions.outputs
        if seen is None and self.pruner.method.needs_outputs:
            raise ObservationError(
                f"{self.pruner.method.name}'s memory term must have the probabilities of classes; got a regression. "
                "Use a method that needs losses alone, such as Greedy. Or override `observation(outputs, inputs)` to "
                "return (B,) losses and what the memory term needs."
            )
        with torch.no_grad():
            return predictions.losses(), seen

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the Trainer's loss of a batch, weighted where the plan has weights; observe training batches."""
        index = inputs.pop(INDEX_KEY, None)
        plain = super().compute_loss
        if index is None or not model.training:  # or an evaluation on the training data
            return plain(model, inputs, return_outputs, num_items_in_batch=num_items_in_batch)
        observed, weighted = self._observes, self.pruner.plan.weight is not None
        if not (observed or weighted):  # outputs may cost a forward pass: ask for none
            if self.pruner.method.scores:
                self.pruner.observe(index, torch.zeros(len(index), device="cpu"))
            return plain(model, inputs, return_outputs, num_items_in_batch=num_items_in_batch)
        compute = partial(plain, model, {**inputs}, num_items_in_batch=num_items_in_batch)
        loss, outputs = self._loss_and_outputs(compute, model)
        if observed:
            losses, seen = self.observation(outputs, inputs)
            check_rows(losses, index)
            self.pruner.observe(index, losses, seen)
        if weighted:
            check_weightable(self.pruner.method, outputs, compute_loss_func=self.compute_loss_func)
            loss = reweighted(loss, self._summed_losses(outputs, inputs), self.pruner.weights(index))
        return (loss, outputs) if return_outputs else loss

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        left_out, model = inputs.pop(LEFT_OUT_KEY, None), self.model
        if left_out is not None and model is not None and model.training:
            self.pruner.leave_out(left_out.cpu())
        prepared: dict[str, Any] = super()._prepare_inputs(inputs)
        if INDEX_KEY in inputs:
            prepared[INDEX_KEY] = inputs[INDEX_KEY]  # stays on the CPU
        return prepared

    def _loss_and_outputs(self, compute: Callable[..., Any], model: nn.Module) -> tuple[Tensor, Any]:
        """Return what `compute(return_outputs=...)`, the Trainer's `compute_loss`, makes of a batch with the model."""
        loss, outputs = compute(return_outputs=True)
        return loss, outputs

    @property
    def _observes(self) -> bool:
        method, recorded = self.pruner.method, bool(self.pruner.recording.columns)
        return self.always_observe or recorded or (method.needs_losses and (method.scores or len(method.columns) > 0))

    def _predictions(self, outputs: Any, inputs: Mapping[str, Any]) -> Predictions:
        return Predictions.of(
            outputs,
            inputs,
            label_names=self.label_names,
            problem_type=problem_type(self.model),
            predicts_next=predicts_next(self.model, smoothed=self.args.label_smoothing_factor > 0),
        )

    def _summed_losses(self, outputs: Any, inputs: Mapping[str, Any]) -> Tensor:
        """Return (B,) parts of the Trainer's loss, with their graph; the loss is a normalised sum of them."""
        smoothing = self.args.label_smoothing_factor
        return self._predictions(outputs, inputs).losses(label_smoothing=smoothing, reduction="sum")

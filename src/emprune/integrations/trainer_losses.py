"""What each sample of the Trainer's batch cost, read from the model's outputs and the batch's labels.

The Trainer knows one loss of a batch. These are the same losses sample by sample, for the tasks with a known form::

    cross-entropy    one prediction (B, C), a sequence of them (B, T, C), or an answer's start and end (B, 2, T)
    squared error    the model's config says problem_type="regression"
    binary           the model's config says problem_type="multi_label_classification"

Everything else is refused, and the message says why: the user then overrides `PrunedTrainer.observation`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from emprune.errors import ObservationError
from emprune.integrations.log_probabilities import known_log_probabilities
from emprune.losses import next_labels, sequence_cross_entropy
from emprune.memory import MaskedLogits

__all__ = ["Predictions", "check_rows"]

_OVERRIDE = "Override `observation(outputs, inputs)` to return (B,) losses and what a memory term needs."
_ANSWER = ("start_positions", "end_positions")
"""The two labels of extractive question answering."""
_IGNORED = -100


@dataclass(frozen=True, eq=False)
class Predictions:
    """A batch's predictions and the labels they should have met.

    Attributes:
        logits: (B, C) or (B, T, C) for classes; (B, D) for the other tasks.
        labels: (B,) or (B, T) int64 classes; (B, D) for the other tasks.
        task: What the labels are.
        normalized: Whether the logits (B, T, C) are the log-probabilities that the model's own loss has computed.
    """

    logits: Tensor
    labels: Tensor
    task: Literal["classes", "regression", "multi_label"] = "classes"
    normalized: bool = False

    @classmethod
    def of(
        cls,
        outputs: Any,
        inputs: Mapping[str, Any],
        *,
        label_names: Sequence[str],
        problem_type: str | None = None,
        predicts_next: bool = False,
    ) -> "Predictions":
        """Find a batch's predictions.

        Args:
            outputs: What the model returned: a mapping, an object with `logits`, or a tuple (loss, logits, ...).
            inputs: The batch, labels included.
            label_names: The Trainer's names of labels.
            problem_type: What the model's config says.
            predicts_next: Whether logits t predict label t + 1.

        Raises:
            ObservationError: If logits or labels are missing, or of a form that has no known loss for each sample.
        """
        names = _present(inputs, label_names)
        if set(names) == set(_ANSWER):
            return cls._answer(_logits_of(outputs, "start_logits", 0), _logits_of(outputs, "end_logits", 1), inputs)
        logits = _logits_of(outputs, "logits", 0)
        labels = _labels_of(inputs, names).to(logits.device)
        if logits.ndim == 2 and problem_type in ("regression", "multi_label_classification"):
            return cls._measured(logits, labels, problem_type)
        if labels.shape == (*logits.shape[:-1], 1):
            labels = labels.squeeze(-1)
        _check_classes(logits, labels)
        if labels.ndim == 1:
            return cls(logits, labels)
        labels = next_labels(labels) if predicts_next else labels
        known = known_log_probabilities(_loss_of(outputs), logits)
        return cls(logits, labels) if known is None else cls(known, labels, normalized=True)

    @classmethod
    def _answer(cls, start: Tensor, end: Tensor, inputs: Mapping[str, Any]) -> "Predictions":
        """Return two predictions a sample, over its tokens; a position beyond them does not count."""
        logits = torch.stack([start, end], 1)
        labels = torch.stack([_labels_of(inputs, [name]).flatten() for name in _ANSWER], 1).to(logits.device)
        labels = labels.clamp(min=0)
        return cls(logits, labels.masked_fill(labels >= logits.shape[2], _IGNORED))

    @classmethod
    def _measured(cls, logits: Tensor, labels: Tensor, problem_type: str) -> "Predictions":
        if labels.numel() != logits.numel() or len(labels) != len(logits):
            raise ObservationError(
                f"The labels of problem_type={problem_type!r} must be as many as the logits, {tuple(logits.shape)}; "
                f"got {tuple(labels.shape)}. {_OVERRIDE}"
            )
        task: Literal["regression", "multi_label"] = "regression" if problem_type == "regression" else "multi_label"
        return cls(logits, labels.reshape(logits.shape), task)

    def losses(self, *, label_smoothing: float = 0.0, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """Return (B,) losses, with the logits' graph.

        Args:
            label_smoothing: Of a cross-entropy.
            reduction: Over the predictions of a sample that count.
        """
        if self.task == "classes":
            return sequence_cross_entropy(
                self.logits,
                self.labels,
                label_smoothing=label_smoothing,
                reduction=reduction,
                normalized=self.normalized,
            )
        logits, labels = self.logits.float(), self.labels.float()
        if self.task == "regression":
            each = (logits - labels) ** 2
        else:
            each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return each.mean(1) if reduction == "mean" else each.sum(1)

    @property
    def outputs(self) -> Tensor | MaskedLogits | None:
        """What a memory term sees; None for a regression, which has no probabilities."""
        if self.task == "regression":
            return None
        if self.task == "multi_label":  # each label is a choice of two
            logits = torch.stack([self.logits, torch.zeros_like(self.logits)], -1)
            return MaskedLogits(logits, torch.ones_like(self.labels, dtype=torch.bool))
        if self.labels.ndim == 1:
            return self.logits
        return MaskedLogits(self.logits, self.labels != _IGNORED, normalized=self.normalized)


def check_rows(losses: Tensor, index: Tensor) -> None:
    """Raise ObservationError if a batch's rows are not its samples."""
    if isinstance(losses, Tensor) and losses.ndim == 1 and losses.shape != index.shape:
        raise ObservationError(
            f"A row of a batch must be one sample to have a loss of its own; got {len(losses)} row(s) for {len(index)} "
            "samples. Turn packing and padding-free batches off. A `data_collator` that leaves samples out must "
            "return emprune.data.KeptSamples."
        )


def _present(inputs: Mapping[str, Any], label_names: Sequence[str]) -> list[str]:
    names = [name for name in label_names if inputs.get(name) is not None]
    if not names and inputs.get("labels") is not None:
        names = ["labels"]
    if not names:
        raise ObservationError(
            f"The batch must have labels under one of `label_names`={list(label_names)}; got the keys "
            f"{sorted(map(str, inputs))}. Name them in the arguments, label_names=[...]. Or: {_OVERRIDE}"
        )
    if len(names) > 1 and set(names) != set(_ANSWER):
        raise ObservationError(
            f"A batch must have one kind of labels to have a known loss for each sample; got {names}, whose losses the "
            f"model adds in its own way. {_OVERRIDE}"
        )
    return names


def _labels_of(inputs: Mapping[str, Any], names: Sequence[str]) -> Tensor:
    labels = inputs[names[0]]
    if not isinstance(labels, Tensor):
        found = f"a {type(labels).__name__}"
        if isinstance(labels, Sequence):
            found += f" of {len(labels)}"
        raise ObservationError(
            f"The batch's `{names[0]}` must be one tensor to have a known loss for each sample; got {found}. "
            f"{_OVERRIDE}"
        )
    return labels


def _loss_of(outputs: Any) -> object:
    if isinstance(outputs, Mapping):
        return outputs.get("loss")
    return outputs[0] if isinstance(outputs, (tuple, list)) and outputs else None


def _logits_of(outputs: Any, name: str, position: int) -> Tensor:
    """Return logits by their name; from a tuple by their position after the loss, which is the scalar in front."""
    if isinstance(outputs, Mapping):
        logits, found = outputs.get(name), f"the keys {sorted(map(str, outputs))}"
    elif isinstance(outputs, (tuple, list)) and not hasattr(outputs, name):
        rest = outputs[1:] if outputs and isinstance(outputs[0], Tensor) and outputs[0].ndim == 0 else outputs
        logits, found = (rest[position] if len(rest) > position else None), f"a tuple of {len(outputs)}"
    else:
        logits, found = getattr(outputs, name, None), f"a {type(outputs).__name__}"
    if isinstance(logits, Tensor):
        return logits
    if logits is not None:
        found = f"a {type(logits).__name__} there"
    elif isinstance(outputs, Mapping) and (name in outputs or hasattr(outputs, name)):
        found = f"{name}=None. If a fused loss left them out, turn it off, use_liger_kernel=False"
    raise ObservationError(
        f"The model must return `{name}`, a tensor, to have a known loss for each sample; got {found}. {_OVERRIDE}"
    )


def _check_classes(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim > 1 and logits.shape[-1] == 1:
        raise ObservationError(
            f"A cross-entropy must have two classes or more; got logits {tuple(logits.shape)}, as a regression or a "
            'reward model has. If its loss is the squared error, set config.problem_type="regression". Otherwise '
            f"there is no cross-entropy to observe. {_OVERRIDE}"
        )
    if labels.is_floating_point():
        raise ObservationError(
            f"The labels of a cross-entropy must be classes, int64; got {tuple(labels.shape)} {labels.dtype}. For "
            'the squared error set config.problem_type="regression", for several labels at once '
            f'"multi_label_classification". {_OVERRIDE}'
        )
    if labels.dtype != torch.int64 or logits.ndim not in (2, 3) or labels.shape != logits.shape[:-1]:
        raise ObservationError(
            f"The labels must be int64 classes, (B,) for logits (B, C) or (B, T) for (B, T, C); got labels "
            f"{tuple(labels.shape)} {labels.dtype} for logits {tuple(logits.shape)}. {_OVERRIDE}"
        )

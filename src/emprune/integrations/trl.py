"""TRL: `PrunedSFTTrainer`, `PrunedRewardTrainer` and `PrunedDPOTrainer` prune with two more arguments.

TRL's trainers make their data when they are made: they drop rows, and count the rest. So the trainer makes its pruner
by itself, and keeps which rows of the user's data are left. No logits are there: the fused head of the model returns
log-probabilities and entropies of tokens. They are read as the model returns them, and it runs once a step::

    rows of the user     0  1  2  3  4  5  ...
    train_dataset        0     1  2     3  ...     what TRL has left of them: the pruner's positions
    trainer.rows         0     2  3     5  ...
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

try:
    import trl.trainer.utils
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.reward_trainer import RewardTrainer
    from trl.trainer.sft_trainer import SFTTrainer
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "trl":
        raise
    raise ModuleNotFoundError(
        "emprune.integrations.trl needs the package 'trl': pip install 'emprune[trl]'",
        name="trl",
    ) from error

from emprune.errors import ConfigError
from emprune.integrations.transformers import PrunedTrainerMixin
from emprune.integrations.trl_data import numbered, options_of_rows, taken_rows
from emprune.memory import prediction_entropy
from emprune.memory.known import KnownEntropy
from emprune.memory.terms import memory_name, memory_term

if TYPE_CHECKING:
    import pandas as pd

if not hasattr(trl.trainer.utils, "FusedCausalLMOutput"):
    raise ImportError("emprune.integrations.trl needs trl 1.16 or later: pip install --upgrade 'emprune[trl]'")

_KNOWN_DPO: dict[str, Sequence[Any]] = {
    "loss_type": (["sigmoid"], ["hinge"], ["ipo"]),
    "f_divergence_type": ("reverse_kl",),
    "ld_alpha": (None,),
    "use_weighting": (False,),
}
"""The DPO losses of which a pair's part is known, by argument."""

__all__ = ["PrunedDPOTrainer", "PrunedRewardTrainer", "PrunedSFTTrainer"]


class _TRLMixin(PrunedTrainerMixin):
    """What the trainers share: the rows of the user's data.

    Attributes:
        rows: (N,) int64, the row of the user's `train_dataset` that each of the pruner's samples is; None where rows
            were packed.
    """

    rows: Tensor | None
    args: Any  # of each trainer's own class

    def __init__(self, *args: Any, train_dataset: Any, **kwargs: Any) -> None:
        self._num_rows = len(train_dataset) if hasattr(train_dataset, "__len__") else 0
        super().__init__(*args, train_dataset=numbered(train_dataset), **kwargs)

    def _validate_args(self) -> None:
        self.rows, self.train_dataset = taken_rows(self.train_dataset)
        self._choice.options = options_of_rows(self._choice.options, self.rows, self._num_rows)
        super()._validate_args()

    def to_frame(self) -> "pd.DataFrame":
        """Return `pruner.to_frame()` with a first column "row", the sample's row in the user's data.

        Raises:
            ImportError: If pandas is not installed.
            ConfigError: If rows were packed.
        """
        if self.rows is None:
            raise ConfigError(
                "`packing` must be False, so that each sample is a row of your data; got packing=True. Leave it out, "
                "or read pruner.to_frame(); its samples are packed rows."
            )
        frame = self.pruner.to_frame()
        frame.insert(0, "row", self.rows.numpy())
        return frame


class PrunedSFTTrainer(_TRLMixin, SFTTrainer):
    """TRL's SFTTrainer on a plan: ``PrunedSFTTrainer(model, args=..., train_dataset=data, method="emp", keep=0.3)``.

    A sample is a row of the data that TRL has left. Its loss is the mean of -log p over its labels that count. Its
    memory term is the mean of their entropies. Both stay so whatever `loss_type` is trained.

    Args:
        *args: What SFTTrainer takes.
        train_dataset: What SFTTrainer takes.
        method: How samples are chosen. The trainer makes the pruner, for what TRL has left of the data.
        **kwargs: What SFTTrainer takes, and beside a method what `PrunedLoader` takes, such as `keep`. Lengths, groups,
            weights, pinned and `initial` are for the rows of `train_dataset` as it was given.

    Raises:
        ConfigError: If an argument contradicts the plan: `packing`, for one, with a method that needs losses.
    """

    _takes_padding_free: ClassVar[bool] = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        method = self.pruner.method
        memory = getattr(method, "memory", prediction_entropy)
        own = type(self).observation is not PrunedSFTTrainer.observation
        if method.needs_outputs and memory_term(memory) is not prediction_entropy and not own:
            raise ConfigError(
                f"`memory` must be prediction_entropy, because TRL's fused head returns no logits; got "
                f"{memory_name(memory)}. "
                "Leave it out, or override `observation(outputs, inputs)`."
            )
        if not own:
            self.pruner.recording.check_without_predictions("TRL's fused head, which returns no logits")

    def observation(self, outputs: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Any]:
        """Return each sample's mean -log p and mean entropy, from the outputs of TRL's fused head."""
        counts = _by_sample(outputs.label_mask.float(), inputs).clamp(min=1)
        with torch.no_grad():
            losses = _by_sample(-outputs.log_probs.float(), inputs) / counts
            return losses, KnownEntropy(_by_sample(outputs.entropy.float(), inputs) / counts)

    def _loss_and_outputs(self, compute: Callable[..., Any], model: nn.Module) -> tuple[Tensor, Any]:
        with _outputs_of(model) as seen:
            loss = compute(return_outputs=False)
        return loss, seen[-1]  # before it may come logits, for a loss of the user's

    def _summed_losses(self, outputs: Any, inputs: Mapping[str, Any]) -> Tensor:
        if self.args.label_smoothing_factor > 0 and self.args.loss_type == "nll":
            raise ConfigError(
                f"`label_smoothing_factor` must be 0, because {self.pruner.method.name}'s weights cannot enter the "
                f"smoothed loss; got {self.args.label_smoothing_factor}. Leave it out, or choose a method without "
                "weights."
            )
        losses = -outputs.log_probs.float()
        if self.args.loss_type == "dft":
            losses = losses * outputs.log_probs.float().exp().detach()
        return _by_sample(losses, inputs)

    def _check_arguments(self) -> None:
        super()._check_arguments()
        if self.args.padding_free and self.args.pad_to_multiple_of is not None and self._observes:
            raise ConfigError(
                "`pad_to_multiple_of` must be None in batches that are padding-free, so that their samples are found; "
                f"got {self.args.pad_to_multiple_of}. Leave it out."
            )


class _PairsMixin(_TRLMixin):
    """A sample is a pair of a chosen and a rejected text; its loss is the pair's.

    The memory term is the entropy of the preference, which is a choice of two.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = type(self).observation is not _PairsMixin.observation
        if not (self._is_cross_entropy or own):
            self.pruner.recording.check_without_predictions("a loss of pairs that is no -log p of the preference")

    @property
    def _is_cross_entropy(self) -> bool:
        """Whether a pair's loss is -log of the probability that the chosen text is preferred."""
        raise NotImplementedError

    def observation(self, outputs: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Any]:
        """Return each pair's loss, and logits (B, 2) of its preference."""
        with torch.no_grad():
            preference = self._preference(outputs, inputs).float()
            losses = self._summed_losses(outputs, inputs).float()
            return losses, torch.stack([preference, torch.zeros_like(preference)], 1)

    def _preference(self, outputs: Any, inputs: Mapping[str, Any]) -> Tensor:
        """Return (B,), the logit of the chosen text against the rejected one."""
        raise NotImplementedError


class PrunedRewardTrainer(_PairsMixin, RewardTrainer):
    """TRL's RewardTrainer on a plan; a sample is a pair.

    It takes what RewardTrainer takes, `method`, and what `PrunedLoader` takes beside it, such as `keep`.
    """

    @property
    def _is_cross_entropy(self) -> bool:
        return self.args.center_rewards_coefficient is None

    def _preference(self, outputs: Any, inputs: Mapping[str, Any]) -> Tensor:
        chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
        margin: Tensor = chosen - rejected
        return margin - inputs["margin"] if "margin" in inputs else margin

    def _summed_losses(self, outputs: Any, inputs: Mapping[str, Any]) -> Tensor:
        losses = -F.logsigmoid(self._preference(outputs, inputs))
        if self.args.center_rewards_coefficient is not None:
            chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
            losses = losses + self.args.center_rewards_coefficient * (chosen + rejected) ** 2
        return losses


class PrunedDPOTrainer(_PairsMixin, DPOTrainer):
    """TRL's DPOTrainer on a plan; a sample is a pair.

    It takes what DPOTrainer takes, `method`, and what `PrunedLoader` takes beside it, such as `keep`. A method that
    needs losses takes a `loss_type` of sigmoid, hinge or ipo.
    """

    def _loss_and_outputs(self, compute: Callable[..., Any], model: nn.Module) -> tuple[Tensor, Any]:
        reference: Any = self.model if self.ref_model is None else self.ref_model
        with _outputs_of(model, reference) as seen:
            loss = compute(return_outputs=False)
        aux_loss = seen[0].aux_loss if self.aux_loss_enabled else None
        return loss, {"policy": seen[0].log_probs, "reference": seen[-1].log_probs, "aux_loss": aux_loss}

    @property
    def _is_cross_entropy(self) -> bool:
        return self.loss_types == ["sigmoid"]

    def _preference(self, outputs: Any, inputs: Mapping[str, Any]) -> Tensor:
        chosen, rejected = self._log_ratios(outputs, inputs)
        return self.beta * (chosen - rejected)

    def _summed_losses(self, outputs: Any, inputs: Mapping[str, Any]) -> Tensor:
        preference = self._preference(outputs, inputs)
        if self.loss_types == ["sigmoid"]:
            return -F.logsigmoid(preference)
        if self.loss_types == ["hinge"]:
            return torch.relu(1 - preference)
        lengths = inputs["completion_mask"].sum(1).clamp(min=1).chunk(2)
        ratios = self._log_ratios(outputs, inputs)
        chosen, rejected = (ratio / length for ratio, length in zip(ratios, lengths, strict=True))
        losses: Tensor = (chosen - rejected - 1 / (2 * self.beta)) ** 2
        return losses

    def _log_ratios(self, outputs: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Return (B,) log-ratios of policy and reference, of the chosen and of the rejected texts."""
        size = inputs["input_ids"].shape[1] - 1  # without the virtual tokens of PEFT
        policy = outputs["policy"][:, -size:].sum(1)
        if self.precompute_ref_logps:
            reference = torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
        else:
            reference = outputs["reference"][:, -size:].sum(1)
        chosen, rejected = (policy - reference).chunk(2)
        return chosen, rejected

    def _check_arguments(self) -> None:
        super()._check_arguments()
        for name, known in _KNOWN_DPO.items():
            value = getattr(self.args, name)
            if self._observes and value not in known:
                raise ConfigError(
                    f"`{name}` must be {' or '.join(map(repr, known))}, so that each pair has a known loss; got "
                    f"{value!r}. Use a method without losses, such as RandomPermutation."
                )


@contextmanager
def _outputs_of(*models: nn.Module) -> Iterator[list[Any]]:
    """Collect what models return, in the order of their calls, while this is entered."""
    seen: list[Any] = []

    def keep(_model: nn.Module, _inputs: Any, outputs: Any) -> None:
        seen.append(outputs)

    hooks = [model.register_forward_hook(keep) for model in dict.fromkeys(models)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _by_sample(values: Tensor, inputs: Mapping[str, Any]) -> Tensor:
    """Return (B,) sums of (B, T) values of tokens; of (1, T) in a padding-free batch.

    In such a row the samples follow each other. The value at t is that of token t + 1, and belongs to its sample.
    """
    samples = inputs.get("seq_idx")
    if samples is None:
        return values.sum(1)
    sums = values.new_zeros(len(inputs["cu_seq_lens_q"]) - 1)
    return sums.index_add(0, samples[0, 1:].long(), values[0])

"""The log-probabilities that a model's own loss has computed, so that nobody computes them again.

A cross-entropy keeps the log-softmax of its logits until the backward pass. Its graph leads there::

    loss   Div, Mul, ...  <-  NllLoss  <-  LogSoftmax, which keeps the result
                                               ^
                               View, cast  ----+
                                  ^
    logits   View, cast  ---------+

Whatever else a graph looks like, a compiled one for instance, nothing is found. The reader then computes for itself.
"""

from typing import Any

import torch
from torch import Tensor

__all__ = ["known_log_probabilities"]

_SCALINGS = ("DivBackward0", "MulBackward0", "ToCopyBackward0")
"""Between a loss and its cross-entropy: a normalisation."""
_RESHAPINGS = ("ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "AliasBackward0", "ToCopyBackward0")
"""Between the logits and the softmax: what keeps every row as it is."""


def known_log_probabilities(loss: object, logits: Tensor) -> Tensor | None:
    """Return log_softmax(logits), with its graph, if the loss is a cross-entropy of just these logits; else None.

    Args:
        loss: What the model returned as its loss.
        logits: (B, T, C) float, returned with it.

    Returns:
        (B, T, C) float32, in memory that the graph of the loss holds: not to be changed.
    """
    if not isinstance(loss, Tensor) or loss.grad_fn is None or logits.grad_fn is None:
        return None
    nll = _behind(loss.grad_fn, _SCALINGS)
    softmax = nll.next_functions[0][0] if _name(nll) == "NllLossBackward0" else None
    if softmax is None or _name(softmax) != "LogSoftmaxBackward0":
        return None
    source = _behind(softmax.next_functions[0][0], _RESHAPINGS)
    if source is not _behind(logits.grad_fn, _RESHAPINGS):  # other logits, such as those without the last token
        return None
    known: Tensor = softmax._saved_result
    if known.dtype != torch.float32 or known.shape != (logits[..., 0].numel(), logits.shape[-1]):
        return None
    return known.view(logits.shape)


def _behind(node: Any, names: tuple[str, ...]) -> Any:
    """Follow a graph from a node while its nodes have these names, and one input that has a gradient."""
    while _name(node) in names:
        inputs = [function for function, _ in node.next_functions if function is not None]
        if len(inputs) != 1:
            break
        node = inputs[0]
    return node


def _name(node: Any) -> str:
    return "" if node is None else str(node.name())

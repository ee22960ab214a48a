"""Hidden features of a batch's two views, taken from the layers of an unchanged model."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from emprune.errors import ConfigError, ObservationError

__all__ = ["capture_features", "mean_pool"]


def mean_pool(output: Tensor) -> Tensor:
    """Average a layer's output over its positions: (B, D) from (B, D, H, W), from (B, T, D), or as it is.

    Raises:
        ObservationError: If it has less than two dimensions.

    Example:
        >>> import torch
        >>> mean_pool(torch.ones(2, 3, 4, 4)).shape, mean_pool(torch.ones(2, 7, 3)).shape
        (torch.Size([2, 3]), torch.Size([2, 3]))
    """
    if output.ndim < 2:
        raise ObservationError(f"A layer's output must be (B, D), (B, T, D) or (B, D, ...); got {tuple(output.shape)}.")
    if output.ndim == 3:
        return output.mean(1)
    return output.flatten(2).mean(2) if output.ndim > 3 else output


@contextmanager
def capture_features(
    model: nn.Module, layers: str | Sequence[str], *, pool: Callable[[Tensor], Tensor] = mean_pool
) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Take the features of a batch's two views from a model that runs inside the `with` block.

    The model is not changed. Its layers have hooks during the block only, and nothing is kept after it except the
    features. Inside, run the model twice, once per view, or once on ``torch.cat([view1, view2])``.

    Args:
        model: The module that is called, with or without DistributedDataParallel.
        layers: One or more layers, named as in ``model.named_modules()``, such as "layer4" or "encoder.layers.11".
            Inside a wrapper, leave out the wrapper's prefix.
        pool: Makes (B, D) of a layer's output; of a tuple its first element counts. The default is the mean over (T) of
            (B, T, D), and over (H, W) of (B, D, H, W). Give another one for Conv1d's (B, D, T), or for (B, H, W, D).

    Yields:
        A dictionary that is filled when the block ends. By layer, it holds (B, D) of the first and of the second view,
        detached, in the layer's dtype.

    Raises:
        ConfigError: If there is no such layer, or the model is in DataParallel or compiled as a whole.
        ObservationError: If the model did not run once or twice, or a layer did not run exactly once each time.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> with capture_features(model, "1") as features:
        ...     z1, z2 = model(torch.randn(5, 3)), model(torch.randn(5, 3))
        >>> [view.shape for view in features["1"]]
        [torch.Size([5, 8]), torch.Size([5, 8])]
    """
    modules = _named_layers(model, [layers] if isinstance(layers, str) else layers)
    features: dict[str, tuple[Tensor, Tensor]] = {}
    passes = _Passes(pool)
    with ExitStack() as hooks:
        hooks.callback(_bare(model).register_forward_pre_hook(passes.begin).remove)
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(passes.recorder(name)).remove)
        yield features
    features.update({name: passes.views(name) for name in modules})


class _Passes:
    """What the layers gave in each forward pass of a block, pooled."""

    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        self._pool = pool
        self._passes: list[dict[str, Tensor]] = []

    def begin(self, module: nn.Module, arguments: Any) -> None:
        if len(self._passes) == 2:
            raise ObservationError(
                "The model must run once or twice in a capture_features block; got a third pass. A block is for the "
                "two views of one batch. Evaluate, and run any further pass, outside of it."
            )
        self._passes.append({})

    def recorder(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(module: nn.Module, arguments: Any, output: Any) -> None:
            if not self._passes or name in self._passes[-1]:
                how = "it ran twice in one pass" if self._passes else "it ran without the model around it"
                raise ObservationError(
                    f"Layer {name!r} must run once in each forward pass of `model`; {how}. Pass the module that is "
                    "called, and a layer that runs once."
                )
            features = _as_tensor(name, output).detach()
            pooled = self._pool(features)
            if pooled.untyped_storage().data_ptr() == features.untyped_storage().data_ptr():
                pooled = pooled.clone()  # what comes next may work in place, and a part would hold the whole
            self._passes[-1][name] = pooled

        return record

    def views(self, name: str) -> tuple[Tensor, Tensor]:
        if not self._passes:
            raise ObservationError(
                "`model` must run in the capture_features block; it did not. Pass the module that is called."
            )
        views = [one[name] for one in self._passes if name in one]
        if len(views) < len(self._passes):
            raise ObservationError(
                f"Layer {name!r} must run in each pass; it ran in {len(views)} of {len(self._passes)}. If "
                "torch.compile compiled a module around it, compile the layer itself instead."
            )
        if len(views) == 2:
            return views[0], views[1]
        if len(views[0]) % 2:
            raise ObservationError(
                f"A single pass must hold both views, torch.cat([view1, view2]); got {len(views[0])} rows, an odd "
                "number. Run the model on both views."
            )
        first, second = views[0].chunk(2)
        return first, second


def _bare(model: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel."""
    if isinstance(model, nn.DataParallel):
        raise ConfigError(
            "`model` must not be in DataParallel, because its replicas run in any order. Use DistributedDataParallel."
        )
    if hasattr(model, "_orig_mod"):
        raise ConfigError(
            "`model` must not be compiled as a whole, because layers inside it cannot be captured. Compile the "
            "captured layer itself, as in model.layer4 = torch.compile(model.layer4)."
        )
    return _bare(model.module) if isinstance(model, nn.parallel.DistributedDataParallel) else model


def _named_layers(model: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
    known = {name: module for name, module in _bare(model).named_modules() if name}
    for name in layers:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"Near matches: {', '.join(close)}." if close else f"There are {', '.join(list(known)[:8])}, ..."
            raise ConfigError(f"`layers` must be names from model.named_modules(); got {name!r}. {hint}")
    if not layers:
        raise ConfigError("`layers` must name at least one layer of the model; got none.")
    return {name: known[name] for name in layers}


def _as_tensor(name: str, output: Any) -> Tensor:
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    if not isinstance(first, Tensor):
        raise ObservationError(
            f"Layer {name!r} must give a tensor, or a tuple that begins with one; got {type(first).__name__}. "
            "Capture a layer inside it."
        )
    return first

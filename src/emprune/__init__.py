"""Dynamic data pruning for PyTorch: EMP and its baselines behind one interface, at exactly equal cost.

The top level holds what a training script needs. The rest is in the public modules: `emprune.methods` (every method,
and what one of your own needs), `emprune.losses`, `emprune.memory`, `emprune.selection`, `emprune.errors`,
`emprune.schedule`, `emprune.summary` and `emprune.suspects`.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from emprune import errors as errors
    from emprune import losses as losses
    from emprune import memory as memory
    from emprune import methods as methods
    from emprune import schedule as schedule
    from emprune import selection as selection
    from emprune import summary as summary
    from emprune import suspects as suspects
    from emprune.api import *  # noqa: F403

__version__ = "0.2.0.dev0"


def __getattr__(name: str) -> typing.Any:
    """Import the public names and modules when the first of them is asked for; the command's help needs none."""
    if "__all__" not in globals() and (name == "__all__" or not name.startswith("__")):
        api = importlib.import_module("emprune.api")
        globals().update({public: getattr(api, public) for public in api.__all__}, __all__=api.__all__)
        if name in globals():
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return what there is to be asked for."""
    return sorted({*globals(), *importlib.import_module("emprune.api").__all__})

"""What a new method or loader must prove: contract suites to subclass, and a made-up training run to prove it on.

Imports pytest, so import it from tests only. `MethodContract` and `LoaderContract` are classes of pytest tests; every
method and every loader of this library passes them.
"""

import pytest

pytest.register_assert_rewrite("emprune.testing.loaders", "emprune.testing.method_contract", "emprune.testing.states")

from emprune.testing.loaders import LoaderContract  # noqa: E402 - after their asserts are made readable
from emprune.testing.method_contract import MethodContract  # noqa: E402
from emprune.testing.states import assert_same_state, through_disk  # noqa: E402
from emprune.testing.synthetic import SyntheticTask, run_epochs, train_epoch  # noqa: E402

__all__ = [
    "LoaderContract",
    "MethodContract",
    "SyntheticTask",
    "assert_same_state",
    "run_epochs",
    "through_disk",
    "train_epoch",
]

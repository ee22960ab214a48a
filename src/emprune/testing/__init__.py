"""What a new method must prove: a contract suite to subclass, and a made-up training run to prove it on.

Imports pytest, so import it from tests only. `MethodContract` is a class of pytest tests; every method of this library
passes it.
"""

import pytest

pytest.register_assert_rewrite("emprune.testing.method_contract", "emprune.testing.states")

from emprune.testing.method_contract import MethodContract  # noqa: E402 - after its asserts are made readable
from emprune.testing.states import assert_same_state, through_disk  # noqa: E402
from emprune.testing.synthetic import SyntheticTask, run_epochs, train_epoch  # noqa: E402

__all__ = ["MethodContract", "SyntheticTask", "assert_same_state", "run_epochs", "through_disk", "train_epoch"]

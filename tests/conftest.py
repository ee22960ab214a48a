"""How much hypothesis tries (little here, the same every time in CI, a lot on demand), and the pool of ranks."""

import gc
import os
from collections.abc import Iterator

import pytest
import torch.distributed as dist
from hypothesis import settings

from tests.distributed.pool import RankPool

for _name in ("COLUMNS", "LINES"):  # readline, which pytest imports, sets them for the processes that tests start
    os.environ.pop(_name, None)
    os.unsetenv(_name)

settings.register_profile("default", max_examples=25, deadline=None)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


def pytest_collection_finish() -> None:
    """Keep the garbage collector from what was imported: accelerate calls it in every run, for half of its time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def ranks() -> Iterator[RankPool]:
    """Processes for tests with several ranks: ``ranks.run(work, *arguments, world_size=3)``; one pool for all tests."""
    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("needs gloo")
    pool = RankPool()
    yield pool
    pool.close()

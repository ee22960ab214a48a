"""What the integrations' tests share."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def fresh_accelerate() -> Iterator[None]:
    pytest.importorskip("accelerate")
    from tests.integration.accelerated import forget

    forget()
    yield
    forget()

from collections.abc import Iterator

import pytest

from distributed.ranks import Ranks


@pytest.fixture(scope="session", params=[2, 3])
def ranks(request: pytest.FixtureRequest) -> Iterator[Ranks]:
    """Two processes, then three."""
    started = Ranks(request.param)
    yield started
    started.close()


@pytest.fixture(scope="session")
def pair() -> Iterator[Ranks]:
    """Two processes."""
    started = Ranks(2)
    yield started
    started.close()


@pytest.fixture(scope="session")
def four() -> Iterator[Ranks]:
    """Four processes, which two cores serve slowly."""
    started = Ranks(4)
    yield started
    started.close()

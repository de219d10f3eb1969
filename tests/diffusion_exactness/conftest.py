"""The adapter under test: ours, or the one that the environment names."""

import importlib
import os

import pytest

from diffusion_exactness.adapter import Adapter

OURS = "diffusion_exactness.hornbook_adapter:HornbookAdapter"


def pytest_configure(config: pytest.Config) -> None:
    """Known to any project that has a copy of this directory."""
    config.addinivalue_line("markers", "medium: seconds")


@pytest.fixture(scope="session")
def adapter() -> Adapter:
    module, _, name = os.environ.get("DIFFUSION_EXACTNESS", OURS).partition(":")
    return getattr(importlib.import_module(module), name)()

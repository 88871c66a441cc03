"""A local runtime of one's own, with real bundles."""

import dataclasses
from collections.abc import Iterator

import pytest

from mlauto.runtime.local import LocalRuntime
from mlauto.settings import Settings
from mlauto_tests.serving.conftest import bundles, copied, free_port

__all__ = ["bundles", "copied", "runtime"]


@pytest.fixture
def runtime(settings: Settings) -> Iterator[LocalRuntime]:
    """A runtime with a free port; its gateway is ended after the test."""
    found = LocalRuntime(dataclasses.replace(settings, gateway_port=free_port()))
    yield found
    found.shut_down()

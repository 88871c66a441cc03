"""A scratch loop with the shipped product in it, its commit verified and its first data landed; nothing running yet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlauto.commands.example import FIRST_ROWS, PRODUCT, define, land, make_model_repository
from mlauto.commands.loop import Loop
from mlauto.commands.products import find_product
from mlauto.commands.stream import DemandStream
from mlauto.orchestration import steps
from mlauto.orchestration.platform import Platform
from mlauto_tests.serving.conftest import bundles

__all__ = ["bundles"]


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    made = Loop.scratch(tmp_path / "loop")
    yield made
    made.stop()


@pytest.fixture
def example(loop: Loop) -> Loop:
    """The loop with repository, verified commit and a landed file."""
    stream = DemandStream(seed=7)
    define(loop.settings)
    make_model_repository(loop.settings, stream)
    land(loop.settings, stream.frame(0, FIRST_ROWS), "first.csv")
    platform, product = Platform.from_settings(loop.settings), find_product(loop.settings, PRODUCT)
    mirror = platform.mirror(product)
    mirror.fetch()
    head = mirror.head()
    assert head is not None
    steps.report_commit(platform, product, head, lambda _line: None)
    steps.verify_newest_commit(platform, product)
    return loop

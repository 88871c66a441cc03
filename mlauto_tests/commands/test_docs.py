"""Data Docs of accepted and of quarantined batches, from a real ingest with the shipped product."""

import time
from pathlib import Path

import pytest

from mlauto.commands.docs import make_docs
from mlauto.commands.example import PRODUCT, define, land
from mlauto.commands.products import find_product
from mlauto.commands.stream import DemandStream, corrupt
from mlauto.errors import DataError
from mlauto.orchestration import steps
from mlauto.orchestration.platform import Platform
from mlauto.settings import Settings
from mlauto.training.batches.landing import FolderLanding, pending, plan


def _ingested(settings: Settings, name: str, *, spoiled: bool) -> str:
    """Land rows of the example and take them in; the batch's key."""
    platform, product = Platform.from_settings(settings), find_product(settings, PRODUCT)
    frame = DemandStream(seed=7).frame(0 if spoiled else 200, 200)
    land(settings, corrupt(frame) if spoiled else frame, name)
    plan(platform.store, PRODUCT, FolderLanding(settings.root / "landing" / PRODUCT), time.time())
    (key,) = pending(platform.store, PRODUCT)
    steps.take_batch(platform, product, key)
    return key


def test_docs_of_both_kinds_of_batches(settings: Settings, tmp_path: Path) -> None:
    """An accepted batch is read from the store, a quarantined one from its files; the newest is the default."""
    settings.defs.mkdir(parents=True)
    define(settings)
    good = _ingested(settings, "good.csv", spoiled=False)
    _ingested(settings, "bad.csv", spoiled=True)

    accepted = make_docs(settings, PRODUCT, good, tmp_path / "good")
    quarantined = make_docs(settings, PRODUCT, None, tmp_path / "bad")

    assert "temperature" in "".join(page.read_text() for page in accepted.parent.rglob("*.html"))
    assert "humidity" in "".join(page.read_text() for page in quarantined.parent.rglob("*.html"))


def test_a_batch_that_does_not_exist(settings: Settings, tmp_path: Path) -> None:
    """The error names the batch and says where to look."""
    settings.defs.mkdir(parents=True)
    define(settings)

    with pytest.raises(DataError, match="demand has no batch 2020"):
        make_docs(settings, PRODUCT, "2020", tmp_path)
    with pytest.raises(DataError, match="no batch yet: see mlauto status demand"):
        make_docs(settings, PRODUCT, None, tmp_path)

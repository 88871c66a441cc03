"""What people read of a watch, and that it is the right one's."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from mlauto.delivery.progress import Rollout, Stage
from mlauto.monitoring.watch.record import Subject, Watch
from mlauto.orchestration.proofs import proof_of, proof_rows, watch_path, watch_sentence, watch_told
from mlauto.store import Store
from mlauto_tests.test_proof import PROOF

ROLLOUT = Rollout(
    version="3", image="d" * 64, champion="2", began=0.5, since=1.0, stage=Stage.BAKING, why="verified", settled=True
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the watch over version 3 since its promotion, and its rollout."""
    store = Store(tmp_path)
    store.write_record("tides", "rollout", ROLLOUT)
    watch = Watch(subject=Subject(new="3", old="2", since=1.0, metric="mae"), proof=PROOF)
    watch_path(store, "tides").write_bytes(msgspec.json.encode(watch))
    return store


def test_the_proof_of_a_rollout_is_its_own(store: Store) -> None:
    """Not that of another version, nor of its time beside the champion; an end keeps it."""
    assert proof_of(store, "tides", ROLLOUT) == PROOF
    assert proof_of(store, "tides", replace(ROLLOUT, stage=Stage.ROLLED_BACK, since=9.0)) == PROOF
    assert proof_of(store, "tides", replace(ROLLOUT, version="4")) is None
    assert proof_of(store, "tides", replace(ROLLOUT, champion=None)) is None
    assert proof_of(store, "tides", replace(ROLLOUT, stage=Stage.SHADOW)) is None
    assert proof_of(store, "tides", replace(ROLLOUT, since=2.0)) is None
    assert proof_of(store, "other", ROLLOUT) is None


def test_it_is_told_in_a_sentence(store: Store) -> None:
    """With the outcome before the evidence; for a version that was asked for, or the newest rollout's."""
    told = f"version 3 watched: {PROOF.told}"

    assert watch_sentence(replace(ROLLOUT, stage=Stage.ROLLED_BACK), PROOF) == f"rolled back: {PROOF.told}"
    assert watch_told(store, "tides") == watch_told(store, "tides", "3") == told
    assert watch_told(store, "tides", "2") is None
    assert watch_told(store, "other") is None
    watch_path(store, "tides").unlink()
    assert watch_told(store, "tides") is None


def test_the_table_has_the_whole_evidence() -> None:
    """Rows, difference, bounds where there are any, what is allowed, e-value and threshold."""
    rows = dict(proof_rows(ROLLOUT, PROOF))

    assert rows == {
        "outcome": "watched",
        "compared": "version 3 with version 2",
        "rows that both predicted": 60,
        "difference of mae": 0.5,
        "confidence sequence, 1 % a side": "0.2 to 0.8",
        "difference that is allowed": 0.1,
        "e-value": 80.0,
        "proven from": 50.0,
    }
    assert dict(proof_rows(ROLLOUT, replace(PROOF, low=None)))["confidence sequence, 1 % a side"] == "none yet"

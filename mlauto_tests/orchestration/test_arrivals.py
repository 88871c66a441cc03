"""Why the newest batch is no use."""

from pathlib import Path

import msgspec
import pytest

from mlauto.orchestration.arrivals import quarantined_last, why_quarantined
from mlauto.records import Batch, ExpectationFailure, Validation
from mlauto.store import Store
from mlauto.training.training_set import accept


def batch(key: str, *, passed: bool = False, problem: str | None = None) -> Batch:
    failure = ExpectationFailure(expectation="expect_nothing", column="temp", observed="1", expected="0")
    given = Validation(passed=passed, evaluated=1, failures=() if passed else (failure,) * 5, problem=problem)
    return Batch(key=key, files=(), rows=1, digest="d" if passed else None, validation=given, arrived=1.0)


@pytest.mark.parametrize(
    ("quarantined", "accepted", "said"),
    [
        ([], "b1", ""),
        (["b2"], "b1", "batch b2 is in quarantine (temp: expect_nothing; temp: expect_nothing; temp: expect_nothing)"),
        (["b2"], "b3", ""),
        (["b2"], None, "batch b2 is in quarantine"),
    ],
)
def test_the_newest_batch_decides(tmp_path: Path, quarantined: list[str], accepted: str | None, said: str) -> None:
    """One that was accepted later makes up for it."""
    store = Store(tmp_path)
    for key in quarantined:
        folder = tmp_path / "products" / "p" / "quarantine" / key
        folder.mkdir(parents=True)
        (folder / "reason.json").write_bytes(msgspec.json.encode(batch(key)))
    if accepted:
        accept(store, "p", batch(accepted, passed=True), {})

    told = quarantined_last(store, "p")

    assert told.startswith(said)
    assert bool(told) == bool(said)


def test_reasons() -> None:
    """What could not even be read comes first."""
    assert why_quarantined(batch("b", problem="no header")).startswith("no header; temp")
    assert why_quarantined(batch("b", passed=True)) == "see reason.json"

"""What proves a candidate faulty, and what does not."""

from dataclasses import replace
from typing import Any

import pytest

from mlauto.delivery.judge import Limits, fault, loss
from mlauto_tests.delivery.conftest import make_evidence
from mlauto_tests.test_proof import PROOF

LIMITS = Limits(p99_ms=50.0, error_rate=0.001)


def judged(**values: Any) -> str | None:
    return fault(make_evidence(**values), LIMITS)


def test_nothing_seen_proves_nothing() -> None:
    """Without requests, labels or copies a candidate is neither good nor bad."""
    assert judged() is None
    assert loss(make_evidence()) is None


@pytest.mark.parametrize(
    ("errors", "requests", "champions", "proven"),
    [
        (1, 1, 0, False),
        (1, 100, 0, False),
        (2, 30, 0, True),
        (2, 100, 0, False),
        (5, 100, 0, True),
        (5, 100, 50, False),
        (60, 100, 5, True),
    ],
)
def test_errors(errors: int, requests: int, champions: int, proven: bool) -> None:
    """One may be chance; more than the product allows, and than its champion makes of a thousand, is none."""
    found = judged(requests={"2": requests, "1": 1000}, errors={"2": errors, "1": champions * 10})

    assert (found is not None) == proven
    if found is not None:
        assert found.startswith(f"it failed {errors} of {requests} requests")


def test_errors_of_copies_count() -> None:
    """A candidate that fails copies of requests would fail requests."""
    assert judged(shadows=40, shadow_errors=1) is None
    found = judged(shadows=40, shadow_errors=3)

    assert found is not None
    assert found.startswith("it failed 3 of 40 copied requests")


@pytest.mark.parametrize(
    ("low", "champion", "proven"), [(None, 10.0, False), (49.0, 10.0, False), (51.0, 10.0, True), (51.0, 80.0, False)]
)
def test_slowness(low: float | None, champion: float, proven: bool) -> None:
    """Beyond the limit for certain, and not because the whole machine is slow."""
    found = judged(p99_low_ms={"2": low}, p99_ms={"2": 90.0, "1": champion})

    assert (found is not None) == proven
    if found is not None:
        assert "p99 is above 51 ms (limit 50 ms, version 1 has 10 ms)" in found


def test_a_loss_on_the_same_rows_is_proven_by_the_sequential_test() -> None:
    """An interval that is made for one look proves nothing, as it is looked at again and again."""
    narrow = make_evidence(difference=0.5, difference_low=0.4, difference_high=0.6, paired=200)
    proven = replace(narrow, proof=PROOF)

    assert loss(narrow) is None
    assert loss(replace(narrow, proof=replace(PROOF, e_value=49.0))) is None
    assert loss(replace(narrow, proof=replace(PROOF, difference=-0.5))) is None
    assert fault(proven, LIMITS) == loss(proven) == PROOF.told


@pytest.mark.parametrize(
    ("value", "low", "rows", "allowed", "proven"),
    [
        (0.10, 0.06, 1000, 0.0, True),
        (0.10, 0.06, 1000, 0.05, False),
        (0.10, 0.06, 20, 0.0, False),
        (0.10, 0.04, 1000, 0.0, False),
        (0.10, -0.02, 1000, 0.0, False),
        (-0.10, -0.15, 1000, 0.0, False),
    ],
)
def test_a_loss_on_rows_of_each(value: float, low: float, rows: int, allowed: float, proven: bool) -> None:
    """Without copies, by bounds that hold at all looks: some three to five standard errors, and what is allowed."""
    evidence = make_evidence(
        difference=value,
        difference_low=low,
        difference_high=2 * value - low,
        labelled={"2": rows, "1": 9000},
        allowed=allowed,
    )
    found = loss(evidence)

    assert (found is not None) == proven
    assert fault(evidence, LIMITS) == found
    if found is not None:
        assert "its mae is worse than that of version 1 by 0.1" in found
        assert "on rows of each" in found

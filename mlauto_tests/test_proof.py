"""What is proven, as verdicts and as sentences, and the evidence that carries it."""

import dataclasses
from typing import Any

import msgspec
import pytest

from mlauto.proof import THRESHOLD, Proof, RolloutEvidence

PROOF = Proof(
    new="3",
    old="2",
    metric="mae",
    since=1.0,
    until=9.5,
    rows=60,
    difference=0.5,
    low=0.2,
    high=0.8,
    allowed=0.1,
    e_value=80.0,
)
EVIDENCE = RolloutEvidence(
    candidate="3",
    champion="2",
    since=1.0,
    until=9.5,
    requests={"2": 95, "3": 5},
    errors={"2": 0, "3": 1},
    p99_ms={"2": 1.5, "3": None},
    shadows=7,
    shadow_errors=0,
    disagreement=0.25,
    paired=4,
    difference=-0.5,
    difference_low=-1.0,
    difference_high=0.0,
    metric="mae",
    proof=PROOF,
)


@pytest.mark.parametrize(
    ("changed", "worse", "not_worse"),
    [
        ({}, True, False),
        ({"e_value": THRESHOLD - 0.01}, False, False),
        ({"difference": 0.05, "low": 0.01, "high": 0.09}, False, True),
        ({"difference": -0.5, "e_value": 1e300}, False, True),
        ({"difference": 0.1}, False, False),
        ({"low": None, "high": None, "e_value": 1.0}, False, False),
    ],
)
def test_a_side_is_proven_by_the_e_value_and_the_difference(
    changed: dict[str, Any], worse: bool, not_worse: bool
) -> None:
    """Never both, and neither before the threshold is reached."""
    proof = dataclasses.replace(PROOF, **changed)

    assert (proof.worse, proof.not_worse) == (worse, not_worse)


def test_it_is_told_as_the_end_of_a_sentence() -> None:
    """With rows, bounds, e-value and what is allowed, whichever way it stands."""
    better = dataclasses.replace(PROOF, difference=-0.5, low=-0.8, high=-0.2)
    fresh = dataclasses.replace(PROOF, low=None, high=None, e_value=0.5, metric="rmse")

    assert PROOF.told == (
        "its mae is worse than that of version 2 by 0.5 [0.2, 0.8], 60 rows that both predicted, e-value 80 of 50"
    )
    assert better.told == (
        "its mae is not worse than that of version 2: by -0.5 [-0.8, -0.2], 60 rows that both predicted, e-value 80"
        " (0.1 allowed, 50 proves it)"
    )
    assert fresh.told == (
        "its mean squared error differs from that of version 2 by 0.5 [no bounds yet], 60 rows that both predicted,"
        " e-value 0.5 (0.1 allowed, 50 proves it)"
    )


@pytest.mark.parametrize("record", [PROOF, EVIDENCE, dataclasses.replace(PROOF, low=None, high=None)])
def test_it_survives_json_and_is_frozen(record: Any) -> None:
    """Equal when it is read back, nested records included, and fields cannot be changed or confused by position."""
    assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.metric = "rmse"
    assert all(field.kw_only for field in dataclasses.fields(record))


def test_a_proof_by_auc_is_told_in_losses_of_pairs() -> None:
    """Above 0 is worse, as of any metric, so that it names 1 - auc."""
    told = dataclasses.replace(PROOF, metric="auc").told

    assert told.startswith("its 1 - auc is worse than that of version 2 by 0.5 [0.2, 0.8], 60 pairs of rows that both")

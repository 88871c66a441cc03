"""Approvals and rejections of single versions."""

from dataclasses import replace

import pytest

from mlauto.delivery.decisions import (
    Approval,
    Rejection,
    approve,
    approved,
    newer,
    reject,
    rejected_versions,
    rejection,
    restore,
)
from mlauto.errors import DeliveryError
from mlauto.records import CheckOutcome, Image
from mlauto.store import Store

IMAGE = Image(kind="fake", digest="d", reference="r", version="3", key="k")


def test_versions_are_numbers() -> None:
    """10 came after 9; what is no number cannot be compared."""
    assert newer("10", "9")
    assert not newer("9", "10")
    assert not newer("9", "9")
    with pytest.raises(DeliveryError, match="'latest' is no number"):
        newer("latest", "1")


def test_a_sound_version_can_be_approved(store: Store) -> None:
    """The record says who and when."""
    store.write_record("p", "images/3", IMAGE)
    assert not approved("p", "3", store)

    assert approve("p", "3", store, by="ann", now=5.0) == Approval(version="3", by="ann", at=5.0)
    assert approved("p", "3", store)
    assert not approved("p", "4", store)


def test_what_cannot_be_approved(store: Store) -> None:
    """A version without an image, one whose image failed, one that was rolled back: each with its sentence."""
    with pytest.raises(DeliveryError, match="version 3 has no image"):
        approve("p", "3", store, by="ann", now=5.0)
    failed = CheckOutcome(name="unprivileged", passed=False, summary="a secret")
    store.write_record("p", "images/3", replace(IMAGE, checks=(failed,)))
    with pytest.raises(DeliveryError, match="version 3 has no image"):
        approve("p", "3", store, by="ann", now=5.0)

    store.write_record("p", "images/3", IMAGE)
    reject("p", Rejection(version="3", to="2", reason="slow", at=1.0), store)
    with pytest.raises(DeliveryError, match=r"rolled back \(slow\)"):
        approve("p", "3", store, by="ann", now=5.0)
    assert not approved("p", "3", store)


def test_a_rejection_is_remembered_until_it_is_taken_back(store: Store) -> None:
    """Forgetting one that does not exist changes nothing."""
    decision = Rejection(version="3", to="2", reason="slow", at=1.0)
    assert rejection("p", "3", store) is None
    assert rejected_versions("p", store) == frozenset()

    reject("p", decision, store)
    assert rejection("p", "3", store) == decision
    assert rejected_versions("p", store) == {"3"}

    restore("p", "3", store)
    restore("p", "3", store)
    assert rejection("p", "3", store) is None

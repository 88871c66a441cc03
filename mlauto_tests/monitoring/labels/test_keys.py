"""Keys: a request's and a label file's way to write the same value give the same text."""

import datetime

import pytest

from mlauto.monitoring.labels.keys import digest_of_key, key_text

SAME = [
    [3, 3.0, "3", " 3 ", "3.0", "+3"],
    [0.1, "0.1", "1e-1", ".1"],
    [True, "true", "True"],
    ["007"],
    ["A", " A"],
    [
        "2026-05-01T12:00:00",
        "2026-05-01 12:00",
        "2026-05-01T12:00:00Z",
        "2026-05-01T14:00:00+02:00",
        datetime.datetime(2026, 5, 1, 12),
        datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC),
    ],
    ["2026-05-01", "2026-05-01 00:00:00", datetime.date(2026, 5, 1)],
    ["2026-13-01", " 2026-13-01"],
    ["9999-12-31T23:59:00-14:00"],
    [2**60, str(2**60)],
    ["1e400x"],
]


def test_the_same_value_is_the_same_key() -> None:
    """In whichever type and form it comes; other values are other keys."""
    found = [{key_text(("a",), (value,)) for value in values} for values in SAME]

    assert all(len(texts) == 1 and None not in texts for texts in found)
    assert len(set.union(*found)) == len(SAME)


@pytest.mark.parametrize("value", [None, "", "  ", "nan", float("nan"), float("inf"), "1e400", [1], {"a": 1}])
def test_a_gap_is_no_key(value: object) -> None:
    """Nothing can be joined with it."""
    assert key_text(("a", "b"), (1, value)) is None


def test_the_columns_are_in_it() -> None:
    """Whoever reads the log sees which values they are."""
    text = key_text(("time", "station"), ("2026-05-01", 7))

    assert text == '{"time":"2026-05-01T00:00:00","station":"7"}'
    assert key_text(("a", "b"), ("1", "2")) != key_text(("a", "b"), ("12", ""))
    assert len(digest_of_key(text)) == 16
    assert digest_of_key(text) != digest_of_key('{"time":"2026-05-01T00:00:00","station":"8"}')

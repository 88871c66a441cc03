"""Types that take just what a column allows."""

import json
from typing import Any

import msgspec
import pytest

from mlauto.serving.wire.quicktypes import value_type


def taken(kind: Any, *values: object) -> list[object]:
    """Those of the values that the type takes, as it decodes them."""
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
    found = []
    for value in values:
        try:
            found.append(decoder.decode(json.dumps(value)))
        except msgspec.ValidationError:
            continue
    return found


@pytest.mark.parametrize(
    ("kind", "limit", "fits", "others"),
    [
        ("number", None, [None, 1, -2.5, 1e300, 2**63 - 1], [True, "1", 1.75e308, 2**63]),
        ("number", (0.5, 2), [None, 0.5, 1, 2, 2.0], [0, 0.4, 2.1, 3, True]),
        ("number", (None, 2), [-1e300, -(2**63), 2], [2.1, 3]),
        ("number", (0.1, None), [0.1, 1, 1e300], [0.09, 0, -1]),
        ("number", (0.2, 0.8), [None, 0.5], [0, 1, 0.1]),
        ("number", (1e30, None), [1e30, None], [2**63 - 1, 1e29]),
        ("integer", (0, 23), [None, 0, 23], [-1, 24, 1.0]),
        ("integer", (-0.5, 1.5), [0, 1], [-1, 2]),
        ("integer", (0.2, 0.8), [None], [0, 1]),
        ("integer", (-1e30, 1e30), [-(2**63), 2**63 - 1], [2**63]),
        ("boolean", None, [True, None], [1, 0]),
        ("string", None, ["", None, "a"], [1]),
    ],
)
def test_only_what_is_within_the_limits_is_taken(
    kind: str, limit: tuple[float | None, float | None] | None, fits: list[object], others: list[object]
) -> None:
    """Whole numbers stay whole, both ends belong to the range, and a range may have no whole number in it."""
    found = taken(value_type(kind, limit), *fits, *others)

    assert found == fits
    assert list(map(type, found)) == list(map(type, fits))


def test_only_categories_are_taken() -> None:
    """Texts or whole numbers; a missing value always."""
    assert taken(value_type("string", None, ("a", "b")), "a", "b", "c", None, 1) == ["a", "b", None]
    assert taken(value_type("integer", None, (1, 2)), 1, 3, 1.0, True, None) == [1, None]

"""What a product allows in its columns, against the columns there are."""

from typing import Any

import pytest

from mlauto.errors import TrainingError
from mlauto.records import Signature
from mlauto.training.allowed import check_allowed, is_allowed

KINDS = {"temp": "number", "hour": "integer", "open": "boolean", "sky": "string"}


def test_columns_of_the_right_kind_pass() -> None:
    """Numbers have limits; texts and numbers have categories."""
    limits: dict[str, Any] = {"temp": (0, None), "hour": (0, 23)}
    for some, categories in (({}, {}), (limits, {"sky": ("a",)}), ({}, {"hour": (1, 2), "temp": (1,)})):
        check_allowed(some, categories, KINDS)
    with pytest.raises(TrainingError):
        check_allowed(limits, {}, {"sky": "string"})


@pytest.mark.parametrize(
    ("limits", "categories", "words"),
    [
        ({"wind": (0, 1)}, {}, "data.limits names 'wind', which is no feature: the data has temp, hour, open, sky"),
        ({}, {"wind": ("a",)}, "data.categories names 'wind'"),
        ({"sky": (0, 1)}, {}, "data.limits: 'sky' is of kind string"),
        ({"open": (0, 1)}, {}, "data.limits: 'open' is of kind boolean"),
        ({}, {"sky": (1, 2)}, "data.categories: 'sky' is of kind string"),
        ({}, {"hour": ("a",)}, "data.categories: 'hour' is of kind integer"),
        ({}, {"open": (0, 1)}, "data.categories: 'open' is of kind boolean"),
    ],
)
def test_others_are_named(limits: dict[str, Any], categories: dict[str, Any], words: str) -> None:
    """The section, the column, and what is wrong with it."""
    with pytest.raises(TrainingError) as caught:
        check_allowed(limits, categories, KINDS)

    assert str(caught.value).startswith(words)


def test_a_row_is_allowed_when_all_its_values_are() -> None:
    """Gaps are; columns without limits do not count."""
    signature = Signature(columns=KINDS, task="", limits={"temp": (0, 1)}, categories={"sky": ("a", "b")})
    row = {"temp": 0.5, "hour": 99, "open": None, "sky": "a"}

    assert is_allowed(row, signature)
    assert is_allowed({**row, "temp": None, "sky": None}, signature)
    assert not is_allowed({**row, "temp": 1.5}, signature)
    assert not is_allowed({**row, "sky": "c"}, signature)

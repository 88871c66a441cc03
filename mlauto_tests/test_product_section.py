"""What the sections of the YAML share: durations as people write them, and nothing unknown."""

import pytest
from pydantic import ValidationError

from mlauto.product_section import Duration, Section


class Timed(Section):
    """A section with one duration."""

    wait: Duration = 1.0


@pytest.mark.parametrize(
    ("written", "seconds"), [("250ms", 0.25), ("30s", 30.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0), (7, 7.0)]
)
def test_durations_have_units(written: object, seconds: float) -> None:
    """A plain number is in seconds."""
    assert Timed.model_validate({"wait": written}).wait == seconds


@pytest.mark.parametrize("written", ["soon", "5 weeks", "-3s", -3, ""])
def test_what_is_no_duration_is_refused(written: object) -> None:
    """Neither words nor negative times."""
    with pytest.raises(ValidationError, match=r"no duration|greater than or equal to 0"):
        Timed.model_validate({"wait": written})


def test_sections_are_frozen_and_know_their_keys() -> None:
    """An unknown key is an error, and nothing is changed afterwards."""
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Timed.model_validate({"wiat": 3})
    with pytest.raises(ValidationError, match="frozen"):
        Timed().wait = 3.0  # type: ignore[misc]

"""The `training` section: policies by name or knobs, and histories that differ."""

from typing import Any

import pytest
from pydantic import ValidationError

from mlauto.product_training import POLICIES, Policy, Training


def test_every_name_is_a_policy() -> None:
    """The names of the YAML are those of the table."""
    for name, policy in POLICIES.items():
        assert Training.model_validate({"retrain": name}).policy == policy
    assert Training().policy == POLICIES["economy"]


@pytest.mark.parametrize(
    "knobs",
    [
        {"false_alarms": 0},
        {"false_alarms": 0.6},
        {"excess": -1},
        {"reference": 0},
        {"growth": 1},
        {"credit": -1},
        {"share": 2},
        {"every_batches": 0},
        {"alarm": True},
    ],
)
def test_knobs_out_of_range_are_refused(knobs: dict[str, Any]) -> None:
    """A knob that would switch a guarantee off is an error with its name."""
    with pytest.raises(ValidationError, match=next(iter(knobs))):
        Policy.model_validate(knobs)


def test_histories_differ_and_there_are_not_too_many() -> None:
    """The same twice would be fitted twice; each costs a fit at every training."""
    two = Training.model_validate({"histories": [{"window": 3}, {"half_life": 2, "share": 3}]}).histories

    assert two is not None
    assert [one.share for one in two] == [1.0, 3.0]
    with pytest.raises(ValidationError, match="two of them are the same"):
        Training.model_validate({"histories": [{"window": 3}, {"window": 3, "share": 2}]})
    for wrong in ([], [{"window": n} for n in range(1, 10)], [{"half_life": 0}], [{"share": 0}]):
        with pytest.raises(ValidationError, match="histories"):
            Training.model_validate({"histories": wrong})


def test_averages_are_corrected_where_every_batch_makes_a_model() -> None:
    """What the newest batch asks for does not last until a later training."""
    trainings = [Training.model_validate({"retrain": name}) for name in POLICIES]
    assert [one.corrected for one in trainings] == [False, True, True, True]
    assert [one.leaps for one in trainings] == [False, False, True, True]
    assert not Training.model_validate({"retrain": {"every_batches": 2, "average": True}}).corrected

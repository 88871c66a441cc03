"""The words that policies speak: what a history is called, and what a choice is without further say."""

import pytest

from mlauto.training.deciding import Choice, too_near
from mlauto.training.weighting import ALL, History


@pytest.mark.parametrize(
    ("history", "said"),
    [
        (History(), "all history"),
        (History(half_life=2.5), "half-life 2.5"),
        (History(window=5), "last 5 batches"),
        (History(window=10, half_life=4.0), "last 10 batches, half-life 4"),
    ],
)
def test_a_history_says_what_it_is(history: History, said: str) -> None:
    """The names of a table's rows."""
    assert str(history) == said


def test_a_choice_needs_no_history_to_do_nothing() -> None:
    """All history, and no way back, unless something else is said."""
    choice = Choice(train=False, reason="1 new batch")

    assert choice.members == ALL
    assert choice.back_to is None


def test_half_of_what_another_model_answered_says_nothing() -> None:
    """Nothing is left out where labels come at once, or a batch late."""
    assert [too_near(lag) for lag in (0, 1, 2, 5, 50)] == [0, 0, 1, 2, 25]

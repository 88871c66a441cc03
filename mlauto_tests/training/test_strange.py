"""Strange batches are found once what learned from them fails; changes, and what can be learned, stay."""

import math

import pytest

from mlauto.training.strange import Judges, judges_of, strange, times_usual
from mlauto.training.weighting import BLEND, RECALLED, History, Member

JUDGES = Judges(longest=2, short=1)
USUAL = (1.0, 1.1, 1.2)  # newest batch only, half-life 1, all history
BAD = (9.0, 9.0, 9.0)
SPOILED = (9.0, 5.0, 1.3)  # after a fit on a strange batch
CALM = [USUAL] * 5
AT_ONCE = [1] * 20


def test_a_batch_that_spoils_what_learned_from_it_is_strange() -> None:
    """Known with the first batch that was answered by fits on it."""
    assert strange([*CALM, BAD, SPOILED], AT_ONCE[:7], JUDGES) == (5,)
    assert strange([*CALM, BAD], AT_ONCE[:6], JUDGES) == ()
    assert strange([*CALM, BAD, SPOILED, USUAL, USUAL, BAD, SPOILED, USUAL], AT_ONCE[:12], JUDGES) == (5, 9)


def test_the_longest_history_may_be_spoiled_a_little_too() -> None:
    """Where it has few batches, or the labels were wrong by far; but less than half as much as the short one."""
    assert strange([*CALM, BAD, (900.0, 500.0, 240.0)], AT_ONCE[:7], JUDGES) == (5,)
    assert strange([*CALM, BAD, (900.0, 500.0, 260.0)], AT_ONCE[:7], JUDGES) == ()


def test_late_labels_tell_later() -> None:
    """Two batches late: those right after it were answered by fits that had not seen it, and are no proof."""
    losses = [*CALM, BAD, USUAL, USUAL, SPOILED]
    assert strange(losses[:8], [3] * 8, JUDGES) == ()
    assert strange(losses, [3] * 9, JUDGES) == (5,)
    changed = [*CALM, BAD, BAD, BAD, SPOILED]
    assert strange(changed, [3] * 9, JUDGES) == ()  # the next one was as bad: not strange by itself


def test_what_nobody_learned_from_has_done_no_harm() -> None:
    """The model that answers was fitted on the first batches, and stays."""
    losses = [*CALM, BAD, USUAL, SPOILED]
    assert strange(losses, list(range(1, 9)), JUDGES) == ()


@pytest.mark.parametrize(
    "after",
    [
        pytest.param((1.5, 4.0, 8.0), id="something changed, and the newest fit has learned it"),
        pytest.param((9.0, 9.0, 9.0), id="nobody knows yet"),
        pytest.param((9.0, 1.3, 1.3), id="a holiday that a column tells: only the fit on it alone is wrong"),
        pytest.param((1.0, 1.1, 1.2), id="no harm at all"),
    ],
)
def test_a_change_and_what_can_be_learned_stay(after: tuple[float, float, float]) -> None:
    """All of them begin with the same batch."""
    assert strange([*CALM, BAD, after, after], AT_ONCE[:8], JUDGES) == ()


def test_a_batch_is_held_to_the_ten_before_it() -> None:
    """More than three times their median, by the best member."""
    assert times_usual([(9.0, 9.0), *[(2.0, 1.0)] * 10], 11) == 3.0
    assert strange([*CALM, (3.0, 9.0, 9.0), SPOILED], AT_ONCE[:7], JUDGES) == ()
    assert strange([], [], JUDGES) == ()


def test_early_ones_are_held_to_those_after_them_too() -> None:
    """Three say what is usual: where fewer came before, the first after it are asked; later ones never."""
    assert times_usual([(4.0,), (1.0,), (9.0,), (2.0,), (7.0,), (9.0,)], 1) == 12.0
    assert times_usual([(4.0,), (1.0,), (9.0,)], 1) == math.inf
    assert times_usual([(1.0,), (1.0,), (1.0,), (9.0,), (5.0,), (5.0,)], 3) == 3.0
    assert strange([BAD, SPOILED, USUAL], AT_ONCE[:3], JUDGES) == ()
    assert strange([BAD, SPOILED, USUAL, USUAL], AT_ONCE[:4], JUDGES) == (0,)
    assert strange([USUAL, BAD, SPOILED, USUAL], AT_ONCE[:4], JUDGES) == (1,)
    assert strange([USUAL, BAD, BAD, BAD, BAD], AT_ONCE[:5], JUDGES) == ()  # an early change
    for count, found in ((RECALLED - 1, (0,)), (RECALLED, ())):  # the oldest known is not the first that there was
        assert strange([BAD, SPOILED, *[USUAL] * (count - 2)], [1] * count, JUDGES) == found


def test_the_judges_are_the_longest_history_and_the_shortest_of_several_batches() -> None:
    """Whatever their order; one history alone judges nothing, since it would have to be good and bad."""
    assert judges_of(BLEND) == Judges(longest=4, short=1)
    assert judges_of(BLEND[::-1]) == Judges(longest=0, short=3)
    alone = judges_of([Member(history=History(window=1))])
    assert alone == Judges(longest=0, short=0)
    assert strange([(1.0,)] * 5 + [(9.0,), (9.0,)], AT_ONCE[:7], alone) == ()

"""Weights by age, and shares that follow how each member has done."""

import math

import numpy as np
import pytest

from mlauto.errors import TrainingError
from mlauto.product_training import Training
from mlauto.training.weighting import (
    BLEND,
    History,
    Member,
    believed,
    first_reliance,
    leapt,
    members_of,
    mixture,
    renewed_shares,
    shared,
    shares_after,
    shortest,
    smoothed,
)

PAIR = (Member(history=History(half_life=1.0), share=0.5), Member(history=History(), share=0.5))


def shares(losses: list[list[float]], members: tuple[Member, ...] = PAIR) -> list[float]:
    return [member.share for member in shared(members, losses)]


def test_weights_are_halved_every_half_life() -> None:
    """The newest batch weighs 1, one a half-life older half of that."""
    assert History(half_life=2.0).of([0, 2, 4]).tolist() == [1.0, 0.5, 0.25]


def test_negligible_weights_are_dropped() -> None:
    """However long history grows, only so many batches weigh anything."""
    weights = History(half_life=2.5).of(range(1000))

    assert np.count_nonzero(weights) == 17
    assert weights[weights > 0].min() >= 0.01


def test_a_window_cuts_and_nothing_keeps_all() -> None:
    """A window leaves out what is older; without window and half-life all history counts alike."""
    assert History(window=2).of([0, 1, 2]).tolist() == [1.0, 1.0, 0.0]
    assert History(half_life=1.0, window=2).of([0, 1, 2]).tolist() == [1.0, 0.5, 0.0]
    assert History().of([0, 500]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_half_life_must_be_above_zero(value: float) -> None:
    """A half-life that halves nothing is refused by name."""
    with pytest.raises(TrainingError, match=f"a half-life of {value} batches"):
        History(half_life=value)


def test_a_window_has_at_least_one_batch() -> None:
    """An empty window is refused."""
    with pytest.raises(TrainingError, match="a window of 0 batches"):
        History(window=0)


def test_weights_say_what_they_are() -> None:
    """In a reason or a table they read as words."""
    assert str(History()) == "all history"
    assert str(History(half_life=2.5, window=4)) == "last 4 batches, half-life 2.5"


def test_the_blend_adds_up() -> None:
    """The members' shares add up to 1 before and after they have learned."""
    after = shared(BLEND, [[0.3, 0.2, 0.2, 0.25, 0.25]] * 7)

    assert sum(member.share for member in BLEND) == pytest.approx(1.0)
    assert sum(member.share for member in after) == pytest.approx(1.0)
    assert [member.history for member in after] == [member.history for member in BLEND]


def test_shares_stay_without_evidence() -> None:
    """No labelled batch, or equal losses, or losses of zero, change nothing."""
    assert shared(PAIR, []) == PAIR
    assert shares([[0.2, 0.2]] * 50) == pytest.approx([0.5, 0.5])
    assert shares([[0.0, 0.0]]) == pytest.approx([0.5, 0.5])


def test_shares_follow_what_was_better() -> None:
    """A third more loss in one batch costs a factor of e; later batches count more than older ones."""
    first, second = shares([[0.3, 0.4]])

    assert first / second == pytest.approx(math.e)
    assert shares([[0.3, 0.4], [0.4, 0.3]])[0] < 0.5


def test_shares_come_back_after_a_change() -> None:
    """What was useless for a hundred batches answers for most within five after the change."""
    before = [[0.2, 0.1]] * 100
    after = [[0.1, 0.2]] * 5

    assert shares(before)[0] < 0.01
    assert shares(before + [[0.1, 0.4]] * 5)[0] > 0.5
    assert shares(after)[0] > 0.99


def test_one_absurd_batch_is_bounded() -> None:
    """A member that lost a million times more is judged like one that lost ten times more."""
    assert shares([[1.0, 1e6]]) == pytest.approx(shares([[1.0, 10.0]]))


def test_a_memory_of_one_does_not_fade() -> None:
    """However long ago it was, a batch counts like the newest; by default it counts less and less."""
    losses = [[0.1, 0.2], *[[0.1, 0.1]] * 50]

    lasting, fading = shares_after((0.5, 0.5), losses, memory=1.0), shares_after((0.5, 0.5), losses)

    assert lasting == pytest.approx(shares_after((0.5, 0.5), losses[:1]))
    assert lasting[0] / lasting[1] == pytest.approx(math.exp(3.0))
    assert fading == pytest.approx((0.5, 0.5), abs=0.01)


def test_units_do_not_matter() -> None:
    """Losses in cents give the shares that losses in euros give."""
    assert shares([[3.0, 4.0], [2.0, 2.5]]) == pytest.approx(shares([[300.0, 400.0], [200.0, 250.0]]))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -0.1])
def test_unusable_losses_are_refused(wrong: float) -> None:
    """A loss that is not a finite number of at least 0 is named with its batch."""
    with pytest.raises(TrainingError, match="labelled batch 1 of 2"):
        shares([[0.1, 0.2], [0.1, wrong]])


@pytest.mark.parametrize("losses", [[[0.1]], [[0.1, 0.2], [0.1]], [[0.1, 0.2, 0.3]]])
def test_every_member_needs_a_loss(losses: list[list[float]]) -> None:
    """A batch with too few or too many losses is refused."""
    with pytest.raises(TrainingError, match="give 2 for each batch"):
        shares(losses)


def test_a_products_histories() -> None:
    """Those that it names, with shares that add up; else the average of the policy, else its half-life alone."""
    named = Training.model_validate({"histories": [{"window": 3}, {"half_life": 2, "share": 3}]})

    assert members_of(named) == (
        Member(history=History(window=3), share=0.25),
        Member(history=History(half_life=2.0), share=0.75),
    )
    assert members_of(Training()) == BLEND
    assert members_of(Training(retrain="every_batch", half_life=7.0)) == (Member(history=History(half_life=7.0)),)


def test_a_mixture_is_the_members_weights_by_their_shares() -> None:
    """What a model that cannot be averaged is fitted with."""
    pair = (Member(history=History(window=1), share=0.25), Member(history=History(half_life=1.0), share=0.75))

    assert mixture(pair, [2, 1, 0]).tolist() == [0.1875, 0.375, 1.0]


def test_shares_without_members_names() -> None:
    """The same numbers, for a process that knows no histories."""
    losses = [[0.3, 0.2], [0.25, 0.2]]

    assert shares_after([0.5, 0.5], losses) == tuple(one.share for one in shared(PAIR, losses))


def test_what_one_batch_can_say_may_be_bounded_closer() -> None:
    """A loss of nothing beside a little is infinitely less, and may be luck."""
    lucky = [[0.02, 0.0]]

    assert shares_after([0.5, 0.5], lucky)[0] < 1e-11
    assert shares_after([0.5, 0.5], lucky, worst=1.0)[0] == pytest.approx(1 / (1 + math.exp(3)))


def test_what_does_not_help_is_no_longer_believed() -> None:
    """And never forgotten: after sixty batches in which nothing was told apart it still counts."""
    helps, hurts, nothing = (0.2, 0.1), (0.1, 0.2), (0.1, 0.1)

    assert believed(0.3, []) == pytest.approx(0.3)
    assert believed(0.3, [helps]) == pytest.approx(0.3 / (0.3 + 0.7 * math.exp(-3)))
    assert believed(0.3, [hurts] * 3) < 1e-4
    assert believed(0.3, [hurts, *[nothing] * 59]) == pytest.approx(believed(0.3, [hurts]))
    assert [believed(certain, [helps, hurts, hurts]) for certain in (0.0, 1.0)] == [0.0, 1.0]


def test_renewed_shares_are_between_old_and_new_ones() -> None:
    """All new where labels come at once; where they are late as far as new ones have helped so far."""
    old, new = (0.8, 0.2), (0.0, 1.0)

    assert [first_reliance(lag) for lag in (0, 1, 9)] == [1.0, 0.3, 0.3]
    assert renewed_shares(old, new, [(0.1, 0.2)] * 9, 1.0) == new
    assert renewed_shares(old, new, [], 0.3) == pytest.approx((0.56, 0.44))
    assert renewed_shares(old, new, [(0.1, 0.2)] * 9, 0.3) == pytest.approx(old, abs=1e-6)
    assert renewed_shares(old, new, [(0.2, 0.1)] * 9, 0.3) == pytest.approx(new, abs=1e-6)


def test_few_errors_say_little() -> None:
    """Two of 150 rows for one is no reason to give up a member; what has a unit, or many errors, counts as it is."""
    one, two = (smoothed("error_rate", count / 150, 150) for count in (1, 2))

    assert shares([[two, one]])[0] > 0.2
    assert shares([[2 / 150, 1 / 150]])[0] < 0.05
    assert smoothed("log_loss", 0.1, 20) == pytest.approx(0.2)
    assert [smoothed(metric, 0.1, 20) for metric in ("mae", "rmse")] == [0.1, 0.1]
    assert shares([[smoothed("error_rate", loss, 10_000) for loss in (0.3, 0.2)]]) == pytest.approx(
        shares([[0.3, 0.2]]), abs=0.001
    )


USUAL = [(0.1, 0.12)] * 8


@pytest.mark.parametrize(
    ("losses", "leaps"),
    [
        ([*USUAL, (0.31, 0.4)], False),  # one batch may be strange
        ([*USUAL, (0.31, 0.4), (0.4, 0.31)], True),
        ([*USUAL, (0.29, 0.4), (0.31, 0.4)], False),
        ([*USUAL, (0.31, 0.4), (0.1, 0.4)], False),  # somebody still knows
        ([*USUAL, *[(0.31, 0.4)] * 5], True),  # labels are late: all of these were answered before anybody knew
        ([*USUAL, *[(0.31, 0.4)] * 12], False),  # what is usual now
        ([(0.31, 0.4), (0.31, 0.4)], False),
        ([(0.1, 0.1), (0.31, 0.4), (0.31, 0.4)], False),  # too little is known of what is usual
        ([(0.1, 0.1), (0.1, 0.1), (0.31, 0.4), (0.31, 0.4)], True),
        ([], False),
    ],
)
def test_two_bad_batches_for_everybody_are_a_sudden_change(losses: list[tuple[float, float]], leaps: bool) -> None:
    """Then nine tenths go to the newest data, and the rest stays as it was."""
    found = leapt((0.6, 0.4), losses, 1)

    assert found == (pytest.approx((0.06, 0.94)) if leaps else (0.6, 0.4))


def test_the_shortest_history_is_that_of_the_newest_batches() -> None:
    """By what its weights add up to, whatever it is made of."""
    assert shortest(BLEND) == 0
    assert shortest(PAIR) == 0
    assert shortest([Member(history=History(window=3)), Member(history=History(half_life=1.0))]) == 1

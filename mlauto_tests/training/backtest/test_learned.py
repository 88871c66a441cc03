"""What labelled batches show, of those models that average the same members."""

from collections.abc import Sequence

import numpy as np

from mlauto.training.backtest.learned import learned
from mlauto.training.backtest.models import Fit, Model
from mlauto.training.correcting import Tried
from mlauto.training.weighting import RECALLED, History, Member

THREE = tuple(Member(history=one, share=1 / 3) for one in (History(window=1), History(half_life=1), History()))
ROWS = [10] * 200


def of(batches: int, losses: Sequence[tuple[float, ...]], members: tuple[Member, ...] = THREE) -> tuple[Model, Fit]:
    """A model whose members lost so much in the batches after its own."""
    fit = Fit(
        later=[np.zeros(10)] * len(losses),
        seconds=1.0,
        parts=tuple(zip(*losses, strict=True)),
        tried=lambda place: Tried(1.0, 0.5, 10.0 * batches + place),
        shown=lambda place: (0.2, 0.1),
    )
    return Model(batches=batches, members=members), fit


def test_each_batch_is_told_by_the_model_that_answered_it() -> None:
    """Counted from its own batches on; how renewed shares did only where somebody wants to know."""
    first, second = of(2, [(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)]), of(4, [(7.0, 8.0, 9.0)])
    answered = [(2, *first), (3, *first), (4, *second)]

    found = learned(answered, THREE, ROWS, "mae", renewed=False)

    assert found.losses == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (7.0, 8.0, 9.0))
    assert [one.best for one in found.tried] == [20.0, 21.0, 40.0]
    assert found.shown == ()
    assert learned(answered, THREE, ROWS, "mae", renewed=True).shown == ((0.2, 0.1),) * 3
    assert learned(answered[:1], THREE, ROWS, "error_rate", renewed=False).losses == ((1.2, 2.2, 3.2),)


def test_other_members_and_old_batches_tell_nothing() -> None:
    """Only the newest sixty are kept."""
    other = of(2, [(1.0, 2.0, 3.0)], THREE[::-1])
    long = of(2, [(float(n), 1.0, 1.0) for n in range(100)])

    assert learned([(2, *other)], THREE, ROWS, "mae", renewed=False).losses == ()
    found = learned([(2 + n, *long) for n in range(100)], THREE, ROWS, "mae", renewed=False)
    assert (len(found.losses), found.losses[0][0]) == (RECALLED, 40.0)


def test_strange_batches_are_named_by_their_numbers() -> None:
    """As fits that knew them have shown."""
    usual, bad, spoiled = (1.0, 1.0, 1.0), (9.0, 9.0, 9.0), (9.0, 5.0, 1.0)
    before, after = of(2, [usual, usual, usual, bad]), of(6, [spoiled])

    answered = [*((number, *before) for number in range(2, 6)), (6, *after)]

    assert learned(answered, THREE, ROWS, "mae", renewed=False).strange == (5,)
    unlearned = of(2, [usual, usual, usual, bad, spoiled])
    assert learned([(n, *unlearned) for n in range(2, 7)], THREE, ROWS, "mae", renewed=False).strange == ()

"""What labelled batches show of the models that answered them, for the ones that are made next."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlauto.training.backtest.models import Fit, Model
from mlauto.training.correcting import Tried
from mlauto.training.strange import judges_of, strange
from mlauto.training.weighting import RECALLED, Member, smoothed

__all__ = ["Learned", "learned"]


@dataclass(frozen=True, kw_only=True)
class Learned:
    """By batch, oldest first: members' losses, how the correction did, and how `renewed_shares` did, where they are.

    `strange` batches, by their numbers, are to be left out of histories.
    """

    losses: tuple[tuple[float, ...], ...]
    tried: tuple[Tried, ...]
    shown: tuple[tuple[float, float], ...]
    strange: tuple[int, ...]


def learned(
    answered: Iterable[tuple[int, Model, Fit]],
    members: Sequence[Member],
    rows: Sequence[int],
    metric: str,
    *,
    renewed: bool,
) -> Learned:
    """Of batches, by number, and those who answered them: what is kept of it. How `renewed` shares did if wanted.

    Only models count that average the same members.
    """
    histories = [one.history for one in members]
    of_them = (
        (number, model, fit)
        for number, model, fit in answered
        if fit.parts and [member.history for member in model.members] == histories
    )
    newest = list(of_them)[-RECALLED:]
    losses = tuple(
        tuple(smoothed(metric, part[number - model.batches], rows[number]) for part in fit.parts)
        for number, model, fit in newest
    )
    places = [(number - model.batches, fit) for number, model, fit in newest]
    found = strange(losses, [place + 1 for place, _ in places], judges_of(members))
    return Learned(
        losses=losses,
        tried=tuple(fit.tried(place) for place, fit in places if fit.tried),
        shown=tuple(fit.shown(place) for place, fit in places if fit.shown and renewed),
        strange=tuple(newest[at][0] for at in found),
    )

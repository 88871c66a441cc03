"""The walk through a history, by hand: streams whose drift is known, and models that know the concept they saw last."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mlauto.errors import TrainingError
from mlauto.records import Action, Score, Status, Verdict
from mlauto.training.backtest.models import Fit, Model, Trial
from mlauto.training.backtest.walk import Outcome, simulate
from mlauto.training.correcting import Tried
from mlauto.training.deciding import Choice, Decide, Losses, Situation
from mlauto.training.weighting import ALL, History, Member, believed, shared

ROWS = 10
PAIR = (Member(history=History(window=1), share=0.5), Member(history=History(), share=0.5))


class Knowing:
    """Models of a stream of concepts, one letter for a batch: right where the newest fitted batch is like it."""

    def __init__(self, concepts: str, *, broken: Sequence[int] = (), refused: Sequence[int] = ()) -> None:
        self.concepts = concepts
        self.broken = broken
        self.refused = refused
        self.asked: list[tuple[Model, Model | None]] = []

    @property
    def rows(self) -> Sequence[int]:
        """Ten in each batch."""
        return [ROWS] * len(self.concepts)

    def fit(self, model: Model) -> Fit:
        """Every row wrong in the batches of another concept, one CPU second; no fit of the broken sizes."""
        if model.batches in self.broken:
            raise TrainingError(f"no fit of {model.batches} batches")
        known = self.concepts[model.batches - 1]
        later = [np.full(ROWS, float(concept != known)) for concept in self.concepts[model.batches :]]
        return Fit(later=later, seconds=1.0)

    def trial(self, model: Model, champion: Model | None) -> Trial:
        """Half a second, and no leave to follow for the refused sizes."""
        self.asked.append((model, champion))
        score = Score(metric="error_rate", value=0.0, low=0.0, high=0.1, rows=ROWS)
        return Trial(reference=score, passed=model.batches not in self.refused, summary="too bad", seconds=0.5)


class Averaging:
    """Averages that are off by what tells model and batch; the first member is the better one."""

    def __init__(self, batches: int, corrects: bool = True) -> None:
        self.rows: Sequence[int] = [ROWS] * batches
        self.corrects = corrects
        self.fitted: list[Model] = []
        self.lost: dict[int, tuple[float, float]] = {}

    def fit(self, model: Model) -> Fit:
        """Nothing is lost; the models are kept."""
        self.fitted.append(model)
        later = range(model.batches, len(self.rows))
        parts = [self.lost.get(batch, (0.1, 0.2)) for batch in later] if len(model.members) > 1 else ()

        def tried(place: int) -> Tried:
            return Tried(1.0, 0.8, 100.0 * model.batches + later[place])

        return Fit(
            later=[np.zeros(ROWS)] * len(later),
            seconds=1.0,
            parts=tuple(zip(*parts, strict=True)),
            tried=tried if self.corrects else None,
            shown=(lambda place: (0.2, 0.1)) if model.asked else None,
        )

    def trial(self, model: Model, champion: Model | None) -> Trial:
        """Nobody asks."""
        raise AssertionError

    def go(self, *choices: tuple[Member, ...], delay: int = 0, belief: float = 0.1) -> list[Model]:
        """The models that are fitted when each labelled batch leads to one, of the histories that are chosen then."""
        left = list(choices)

        def decide(situation: Situation) -> Choice:
            members = left.pop(0) if left else PAIR
            return Choice(train=True, reason="always", members=members, belief=belief)

        count = len(self.rows)
        simulate(self, decide, metric="mae", batches=count, initial=2, delay=delay, members=PAIR)
        return self.fitted


def every_batch(situation: Situation) -> Choice:
    """Train whenever asked."""
    return Choice(train=True, reason="always", members=ALL)


def never(situation: Situation) -> Choice:
    """Leave it."""
    return Choice(train=False, reason="never")


def when_degraded(situation: Situation) -> Choice:
    """Train when the check says so, and repeat what it says."""
    verdict = situation.verdict
    assert verdict is not None
    return Choice(train=verdict.status is Status.DEGRADED, reason=verdict.cause)


def check(model: int, losses: Losses, trained: Score) -> Verdict:
    """Bad when most of the newest batch's rows are wrong; unknown without rows."""
    if not len(losses):
        return Verdict(status=Status.UNKNOWN, action=Action.NONE, cause="no labels", checks=())
    bad = losses[-ROWS:].mean() > 0.5
    return Verdict(
        status=Status.DEGRADED if bad else Status.HEALTHY, action=Action.NONE, cause=f"model {model}", checks=()
    )


def play(
    models: Knowing, decide: Decide, *, delay: int = 0, checked: bool = False, metric: str = "error_rate"
) -> Outcome:
    """All batches of the models' stream, of which two are there at first."""
    return simulate(
        models,
        decide,
        metric=metric,
        batches=len(models.concepts),
        initial=2,
        delay=delay,
        members=ALL,
        check=check if checked else None,
    )


def test_without_training_the_first_model_answers_all() -> None:
    """Two of six batches are of its concept."""
    found = play(Knowing("AAAABBBB"), never)

    assert found.loss == pytest.approx(4 / 6)
    assert (found.trainings, found.seconds, found.promotions) == (0, 0.0, 0)
    assert [step.model for step in found.steps] == [0] * 6
    assert [step.loss for step in found.steps] == [0, 0, 1, 1, 1, 1]


def test_training_after_each_batch_loses_the_first_of_the_new_concept() -> None:
    """Six trainings, the last of which answers nothing, and one bad batch."""
    found = play(Knowing("AAAABBBB"), every_batch)

    assert found.loss == pytest.approx(1 / 6)
    assert (found.trainings, found.seconds, found.promotions, found.regretted) == (6, 6.0, 6, 0)
    assert [step.model for step in found.steps] == [0, 1, 2, 3, 4, 5]
    assert all(step.trained for step in found.steps)


def test_late_labels_delay_what_is_learnt() -> None:
    """With labels two batches late three batches of the new concept are lost, and two decisions never come."""
    seen: list[tuple[int, int, int]] = []

    def watching(situation: Situation) -> Choice:
        seen.append((situation.newest, len(situation.scores), situation.fresh))
        return every_batch(situation)

    found = play(Knowing("AAAABBBB"), watching, delay=2)

    assert found.loss == pytest.approx(3 / 6)
    assert found.trainings == 4
    assert seen == [(2, 1, 1), (3, 2, 1), (4, 3, 1), (5, 4, 1)]
    assert [step.reason for step in found.steps] == ["", "", "always", "always", "always", "always"]


def test_a_promotion_that_the_next_batches_disprove_is_regretted() -> None:
    """One odd batch, learnt from, spoils the next; returning is no regret."""
    found = play(Knowing("AAABAAAA"), every_batch)

    assert found.loss == pytest.approx(2 / 6)
    assert (found.promotions, found.regretted) == (6, 1)


def test_regret_of_errors_is_relative_to_the_replaced_model() -> None:
    """Against a model without any error every loss that is proven counts."""
    assert play(Knowing("AAABAAAA"), every_batch, metric="mae").regretted == 1


def test_a_policy_sees_scores_and_who_answered() -> None:
    """Only of the batches with labels, with the model that answered and the count of new ones."""
    last: list[Situation] = []

    def third(situation: Situation) -> Choice:
        last.append(situation)
        return Choice(train=situation.fresh == 3, reason=f"{situation.fresh} new")

    play(Knowing("AAAABBBB"), third)

    assert [situation.fresh for situation in last] == [1, 2, 3, 1, 2, 3]
    assert [(one.number, one.model, one.loss, one.rows) for one in last[3].scores] == [
        (2, 0, 0.0, ROWS),
        (3, 0, 0.0, ROWS),
        (4, 0, 1.0, ROWS),
        (5, 1, 0.0, ROWS),
    ]
    assert last[3].live == 1
    assert last[3].verdict is None
    assert last[3].scores[0].error == 0.0


def test_a_verdict_is_on_the_live_models_own_rows() -> None:
    """One training cures the drift; the model that nobody has judged yet is unknown."""
    found = play(Knowing("AAAABBBB"), when_degraded, checked=True)

    assert found.loss == pytest.approx(1 / 6)
    assert (found.trainings, found.degraded, found.seconds) == (1, 1, 1.5)
    assert [step.status for step in found.steps] == ["healthy", "healthy", "degraded", "healthy", "healthy", "healthy"]


def test_late_labels_of_the_old_model_are_no_evidence_against_the_new_one() -> None:
    """After the training nothing is known until its own labels come: no second one on the same evidence."""
    found = play(Knowing("AAAABBBBBB"), when_degraded, delay=2, checked=True)

    assert found.trainings == 1
    assert [step.status for step in found.steps][4:] == ["degraded", "unknown", "unknown", "healthy"]


def test_a_refused_candidate_leaves_the_champion() -> None:
    """It costs its training, its batches are no longer new, and the reason is told."""
    models = Knowing("AAAABBBB", refused=[5])

    found = play(models, every_batch, checked=True)

    assert (found.trainings, found.blocked, found.promotions, found.seconds) == (6, 1, 5, 9.0)
    assert found.loss == pytest.approx(2 / 6)
    assert found.steps[2].reason == "always; the champion stays: too bad"
    assert models.asked[4] == (Model(batches=6, members=ALL), Model(batches=4, members=ALL))


def test_a_fit_that_fails_leaves_the_champion() -> None:
    """Nothing is lost: the next training has its batches too."""
    found = play(Knowing("AAAABBBB", broken=[5]), every_batch)

    assert (found.trainings, found.blocked) == (6, 1)
    assert found.steps[2].reason == "always; the champion stays: no fit of 5 batches"
    assert found.loss == pytest.approx(2 / 6)


def test_without_a_first_model_there_is_no_history_to_go_through() -> None:
    """The error is the fit's own."""
    with pytest.raises(TrainingError, match="no fit of 2 batches"):
        play(Knowing("AAAABBBB", broken=[2]), every_batch)


def test_an_earlier_model_answers_after_a_rollback() -> None:
    """It is neither a training nor a promotion."""

    def back(situation: Situation) -> Choice:
        if situation.newest == 3:
            return Choice(train=True, reason="odd batch")
        return Choice(train=False, reason="as before", back_to=0 if situation.newest == 4 else None)

    found = play(Knowing("AAABAAAA"), back)

    assert [step.model for step in found.steps] == [0, 0, 1, 0, 0, 0]
    assert (found.trainings, found.promotions, found.rollbacks, found.regretted) == (1, 1, 1, 1)


def test_each_batch_is_told_of() -> None:
    """For a progress bar."""
    told: list[int] = []

    simulate(
        Knowing("AAAA"),
        never,
        metric="error_rate",
        batches=4,
        initial=1,
        delay=0,
        members=ALL,
        on_batch=lambda: told.append(1),
    )

    assert len(told) == 3


def test_the_next_model_is_corrected_by_what_the_newest_labelled_batch_asks_for() -> None:
    """Of the model that answered it; it is given what all labelled batches have shown."""
    models = Averaging(6).go()

    assert [[one.best for one in model.tried] for model in models] == [
        [202.0, 303.0, 404.0, 505.0][:count] for count in range(5)
    ]
    for count, model in enumerate(models):
        assert model.members == shared(PAIR, [(0.1, 0.2)] * count)


def test_late_labels_correct_by_what_was_off_so_far_ahead() -> None:
    """Two batches late: the first model answered the first two labelled batches, whatever was live in between."""
    models = Averaging(7).go(delay=2)

    assert [model.batches for model in models] == [2, 3, 4, 5]
    assert [[one.best for one in model.tried] for model in models] == [
        [202.0, 203.0, 204.0][:count] for count in range(4)
    ]


def test_other_histories_tell_nothing_of_a_correction() -> None:
    """A single fit is not corrected, and an average starts anew with what was learnt of averages like it."""
    models = Averaging(6).go(PAIR, ALL, PAIR, PAIR[::-1])

    assert [[one.best for one in model.tried] for model in models] == [[], [202.0], [], [202.0, 303.0], []]


def test_a_policy_may_leave_averages_as_they_are() -> None:
    """Where trainings are rare a correction would be old most of the time; shares follow all the same."""
    models = Averaging(4).go(belief=0.0)

    assert [model.tried for model in models] == [()] * 3
    assert models[-1].members == shared(PAIR, [(0.1, 0.2)] * 2)


def test_what_cannot_be_corrected_is_averaged_all_the_same() -> None:
    """Shares follow; there is no correction."""
    models = Averaging(4, corrects=False).go()

    assert [model.tried for model in models] == [()] * 3
    assert models[-1].members == shared(PAIR, [(0.1, 0.2)] * 2)


def averaging(batches: int, rows: int = 30) -> Averaging:
    """Averages of a history whose batches are large enough to try a renewed one on, or not."""
    models = Averaging(batches)
    models.rows = [rows] * batches
    return models


def renewing(situation: Situation) -> Choice:
    """Average anew after each batch; train after the fourth."""
    train = situation.newest == 4
    return Choice(train=train, renew=not train, reason="as it comes", members=PAIR)


def test_fits_are_averaged_anew_without_a_training() -> None:
    """Shares and correction come from all labelled batches, the fits from the last training, and no time is spent."""
    models = averaging(8)

    found = simulate(models, renewing, metric="mae", batches=8, initial=2, delay=0, members=PAIR)

    assert [(one.batches, one.learned) for one in models.fitted] == [
        (2, None),
        *[(2, 3), (2, 4)],
        (5, None),
        *[(5, 6), (5, 7), (5, 8)],
    ]
    assert (found.trainings, found.renewals, found.promotions, found.seconds) == (1, 5, 6, 1.0)
    assert [step.model for step in found.steps] == [0, 1, 2, 3, 4, 5]
    assert [len(one.tried) for one in models.fitted] == [0, 1, 2, 3, 4, 5, 6]
    assert [one.tried[-1].best for one in models.fitted[1:]] == [202, 203, 204, 505, 506, 507]
    shares = [one.members[0].share for one in models.fitted]
    assert shares == [shared(PAIR, [(0.1, 0.2)] * count)[0].share for count in range(7)]


def test_a_line_of_models_is_one_to_the_policy() -> None:
    """What it decides from are the losses of one model, whichever version of it answered."""
    seen: list[Situation] = []

    def noting(situation: Situation) -> Choice:
        seen.append(situation)
        return renewing(situation)

    simulate(averaging(10), noting, metric="mae", batches=10, initial=2, delay=2, members=PAIR)

    assert [one.live for one in seen] == [0, 0, 0, 3, 3, 3]
    assert [one.version for one in seen] == [0, 1, 2, 3, 4, 5]
    assert [list(one.last) for one in seen] == [[0], [0], [0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_late_labels_score_the_model_that_is_live_when_they_come() -> None:
    """As the live loop does. It is nobody's score in half of the batches that a model before those fits answered."""
    seen: list[Situation] = []

    def noting(situation: Situation) -> Choice:
        seen.append(situation)
        return Choice(train=situation.newest == 5, reason="", members=ALL)

    play(Knowing("AAABBBBBBBB"), noting, delay=2)

    assert [batch.model for batch in seen[-1].scores] == ["", 0, 0, 0, "", 1, 1]
    assert [batch.loss for batch in seen[-1].scores] == [0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert seen[-1].last == {0: 1.0, 1: 0.0}


def test_late_labels_renew_shares_as_far_as_that_has_helped() -> None:
    """What renewed versions showed counts from the first of their batches on; a training is not held back."""
    models = averaging(8)

    def late(situation: Situation) -> Choice:
        train = situation.newest == 6
        return Choice(train=train, renew=not train, reason="", members=PAIR, reliance=0.3)

    simulate(models, late, metric="mae", batches=8, initial=2, delay=1, members=PAIR)

    first, *renewed, trained = models.fitted
    asked = [shared(PAIR, [(0.1, 0.2)] * count)[0].share for count in range(1, 5)]
    beliefs = [believed(0.3, [(0.2, 0.1)] * count) for count in (0, 0, 1, 2)]
    assert [model.learned for model in renewed] == [3, 4, 5, 6]
    assert [model.kept for model in renewed] == [(0.5, 0.5)] * 4
    assert [model.asked[0] for model in renewed] == asked
    assert [model.members[0].share for model in renewed] == pytest.approx(
        [(1 - belief) * 0.5 + belief * share for belief, share in zip(beliefs, asked, strict=True)]
    )
    assert trained.members == shared(PAIR, [(0.1, 0.2)] * 5)
    assert (trained.kept, trained.asked) == ((), ())
    assert first.kept == ()


def test_what_is_no_average_is_not_renewed() -> None:
    """A single fit stays, and so does an average with fewer new rows than a trial needs."""
    single = averaging(6)

    def alone(situation: Situation) -> Choice:
        return Choice(train=False, renew=True, reason="", members=ALL)

    found = simulate(single, alone, metric="mae", batches=6, initial=2, delay=0, members=ALL)
    few = averaging(5, rows=9)
    stayed = simulate(few, renewing, metric="mae", batches=5, initial=2, delay=0, members=PAIR)

    assert (found.renewals, found.promotions, len(single.fitted)) == (0, 0, 1)
    assert (stayed.renewals, [one.learned for one in few.fitted]) == (0, [None, None])


def test_a_renewed_average_needs_leave_to_follow() -> None:
    """As a trained one does; the live version stays, and the next one is made of its fits."""

    class Refusing(Averaging):
        def trial(self, model: Model, champion: Model | None) -> Trial:
            score = Score(metric="mae", value=0.0, low=0.0, high=0.1, rows=ROWS)
            return Trial(reference=score, passed=model.learned != 3, summary="too bad", seconds=0.5)

    models = Refusing(5)
    models.rows = [30] * 5

    found = simulate(
        models,
        lambda _: Choice(train=False, renew=True, reason="", members=PAIR),
        metric="mae",
        batches=5,
        initial=2,
        delay=0,
        members=PAIR,
        check=check,
    )

    assert [step.model for step in found.steps] == [0, 0, 1]
    assert (found.renewals, found.blocked, found.seconds) == (2, 0, 0.0)


def test_a_sudden_change_gives_the_average_to_its_newest_fit() -> None:
    """Where the choice says so: after two batches in which both members were wrong, until one is right again."""
    found = []
    for leaps in (False, True):
        models = Averaging(9)
        models.lost = {5: (0.8, 0.9), 6: (0.9, 0.8), 7: (0.1, 0.9)}

        def train(situation: Situation, leaps: bool = leaps) -> Choice:
            return Choice(train=True, reason="", members=PAIR, leaps=leaps)

        simulate(models, train, metric="mae", batches=9, initial=2, delay=0, members=PAIR)
        found.append([model.members[0].share for model in models.fitted])

    stays, leapt = found
    assert leapt[:5] == stays[:5]
    assert leapt[5] == pytest.approx(0.9 + 0.1 * stays[5])
    assert leapt[6:] == stays[6:]


def test_rates_count_as_if_two_more_rows_had_been_lost() -> None:
    """Of ten: 0.3 and 0.4 for 0.1 and 0.2."""
    models = Averaging(4, corrects=False)

    simulate(
        models,
        lambda _: Choice(train=True, reason="", members=PAIR),
        metric="error_rate",
        batches=4,
        initial=2,
        delay=0,
        members=PAIR,
    )

    assert models.fitted[-1].members == shared(PAIR, [(0.1 + 0.2, 0.2 + 0.2)] * 2)


class Spoiled(Averaging):
    """Batch 6 is strange, and spoils the fit on it, as batch 7 shows."""

    members = (*PAIR, Member(history=History(half_life=1), share=0.5))

    def __init__(self) -> None:
        super().__init__(10)
        self.rows = [40] * 10
        self.told: list[bool] = []

    def fit(self, model: Model) -> Fit:
        """The short history suffers from it."""
        lost = {6: (9.0, 9.0, 9.0)} | ({7: (9.0, 0.2, 5.0)} if model.batches == 7 else {})
        later = range(model.batches, len(self.rows))
        parts = [lost.get(batch, (0.2, 0.2, 0.2)) for batch in later]
        return replace(super().fit(model), parts=tuple(zip(*parts, strict=True)))

    def renewing(self, *renewed: int) -> list[Model]:
        """The models, when these batches lead to an average of the live one's fits, and all others to a training."""

        def decide(situation: Situation) -> Choice:
            self.told.append(situation.spoiled)
            again = situation.newest in renewed
            return Choice(train=not again, renew=again, reason="", members=self.members)

        simulate(self, decide, metric="mae", batches=10, initial=2, delay=0, members=self.members)
        return self.fitted


def test_strange_batches_are_left_out_of_what_is_fitted_later() -> None:
    """What is averaged anew has the fits that there are."""
    assert {one.batches: one.strange for one in Spoiled().renewing()} == {
        **dict.fromkeys(range(2, 8), ()),
        **dict.fromkeys(range(8, 11), (6,)),
    }
    assert [(one.batches, one.strange) for one in Spoiled().renewing(7)[-3:]] == [(7, ()), (9, (6,)), (10, (6,))]


def test_policies_are_told_that_the_live_model_learned_from_a_strange_batch() -> None:
    """From when an average of its fits has shown that until there is a training without it."""
    for renewed, spoiled in (((), []), ((7,), [8]), ((7, 8), [8, 9])):
        models = Spoiled()
        models.renewing(*renewed)
        assert [number for number, told in enumerate(models.told, start=2) if told] == spoiled

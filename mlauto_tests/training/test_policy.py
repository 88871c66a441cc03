import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mlauto.averaged import Averaged, Renewal
from mlauto.product import ModelProduct
from mlauto.product_training import Policy
from mlauto.records import BatchWeight, Commit, Score, Signature, TrainedModel, TrainingSet
from mlauto.training.deciding import Labelled
from mlauto.training.policy import (
    Decision,
    Trigger,
    grown,
    model_key,
    new_batches,
    on_new_data,
    renewed_key,
    spoiled,
    why_train,
)
from mlauto.training.retraining import Evidence

TRIGGERS: tuple[Trigger, ...] = ("commit", "batch", "incident", "manual")
Make = Callable[..., ModelProduct]


def batches(*names: str, half_life: float = 5.0) -> TrainingSet:
    weights = [0.5 ** (age / half_life) for age in reversed(range(len(names)))]
    made = tuple(BatchWeight(key=n, digest=n, rows=100, weight=w) for n, w in zip(names, weights, strict=True))
    return TrainingSet(batches=made, digest=f"{names}{half_life}")


def trained(product: ModelProduct, tree: str, training_set: TrainingSet, lock: str = "lock") -> TrainedModel:
    return TrainedModel(
        version="7",
        key=model_key(tree, training_set, product, lock),
        artifact="artifact",
        commit=Commit(sha="sha", tree=tree, subject="s", author="a", time=0.0),
        training_set=training_set,
        run_id="run",
        signature=Signature(columns={"a": "number"}, task="regression"),
        reference=Score(metric="mae", value=1.0, low=0.9, high=1.1, rows=100),
        scores=(),
        checks=(),
        seed=0,
        reason="first model",
        trained=0.0,
    )


def decide(product: ModelProduct, trigger: Trigger, new: TrainingSet, **changes: Any) -> Decision:
    current = trained(product, "tree", batches("1", "2"))
    given = {"current": current, "tree": "tree", "lock_digest": "lock", "product": product, "renew": True, **changes}
    return why_train(training_set=new, trigger=trigger, **given)


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_nothing_changed_trains_nothing(product: Make, trigger: Trigger) -> None:
    """The same code, data, parameters and dependencies give the same key, and no trigger trains that again."""
    decision = decide(product(), trigger, batches("1", "2"))

    assert not decision.train
    assert decision.reason == "nothing changed since version 7"


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_the_first_model_is_always_trained(product: Make, trigger: Trigger) -> None:
    """Without a model every trigger trains, whatever the policy."""
    decision = decide(product(training={"retrain": "never"}), trigger, batches("1"), current=None)

    assert (decision.train, decision.reason) == (True, "first model")


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_new_code_trains_whatever_the_policy(product: Make, trigger: Trigger) -> None:
    """A tree that differs is a new commit, also under the policy `never`."""
    decision = decide(product(training={"retrain": "never"}), trigger, batches("1", "2"), tree="other")

    assert (decision.train, decision.reason) == (True, "new commit")


def test_new_parameters_dependencies_and_weights_train(product: Make) -> None:
    """A seed, a library version or another half-life makes another model."""
    lock = decide(product(), "batch", batches("1", "2", "3"), lock_digest="newer")
    seed = decide(
        product(training={"seed": 1}), "batch", batches("1", "2"), current=trained(product(), "tree", batches("1", "2"))
    )
    weights = decide(product(), "batch", batches("1", "2", half_life=9.0))

    assert (lock.train, lock.reason) == (True, "new parameters or dependencies")
    assert (seed.train, seed.reason) == (True, "new parameters or dependencies")
    assert (weights.train, weights.reason) == (True, "new sample weights")


def test_a_search_makes_another_model(product: Make) -> None:
    """Its settings count; without one the key is what it was, and the engine never counts."""
    spaces = [{"alpha": [1, 2]}, {"alpha": [1, 3]}, {"alpha": {"low": 1, "high": 3}}]
    written = [{"search": {"parameters": space}} for space in spaces]
    keys = [model_key("tree", batches("1"), product(training=one), "lock") for one in ({}, *written)]

    assert len(set(keys)) == 4
    assert model_key("tree", batches("1"), product(training={"backend": "joblib-dask"}), "lock") == keys[0]


def test_limits_and_categories_make_another_model(product: Make) -> None:
    """They are part of what a model's servers do; a product without them keeps the key that it had."""
    new = batches("1", "2")
    keys = {
        model_key("tree", new, product(data=data), "lock")
        for data in (
            {},
            {"limits": {}},
            {"limits": {"a": [0, 1]}},
            {"limits": {"a": [0, 2]}},
            {"categories": {"a": [0]}},
        )
    }
    limited = decide(product(data={"limits": {"a": [0, 1]}}), "batch", new, current=trained(product(), "tree", new))

    assert len(keys) == 4
    assert (limited.train, limited.reason) == (True, "new parameters or dependencies")


def test_economy_waits_for_a_loss_or_for_growth(product: Make) -> None:
    """Under `economy` half as many rows again train nothing by themselves, twice as many do; an incident at once."""
    many = tuple("ab")
    before = trained(product(), "tree", batches(*many))
    little = decide(product(), "batch", batches(*many, "e"), current=before)
    grown = decide(product(), "batch", batches(*many, "e", "f"), current=before)
    incident = decide(product(), "incident", batches(*many, "e"), current=before)

    assert (little.train, little.reason) == (
        False,
        "1 new batch: the live model is not proven worse than at its start or before it",
    )
    assert (grown.train, grown.reason) == (True, "history has grown by 100%")
    assert (incident.train, incident.reason) == (True, "live quality, 1 new batch")


def test_proven_losses_of_the_live_version_train(product: Make) -> None:
    """The scores of its own batches decide; those of another version do not, nor when the budget is spent."""
    many = tuple("abcdefgh")
    before = trained(product(), "tree", batches(*many))
    new = batches(*many, "i")
    usual = [Labelled(number=n, rows=500, loss=0.2, error=0.018, model="7") for n in range(6)]
    bad = [*usual, Labelled(number=6, rows=500, loss=0.4, error=0.02, model="7")]

    found = decide(product(), "batch", new, current=before, live=before, scores=lambda: bad)
    other = decide(product(), "batch", new, current=before, live=replace(before, version="6"), scores=lambda: bad)
    spent = decide(product(), "batch", new, current=replace(before, trainings=9), live=before, scores=lambda: bad)
    incident = decide(product(), "incident", new, current=replace(before, trainings=9), live=before, scores=lambda: bad)

    assert (found.train, found.reason) == (
        True,
        "the live model lost 0.4 a row in its newest batch, 0.2 at its start",
    )
    assert not other.train
    assert (spent.train, incident.train) == (False, False)
    assert incident.reason == "live quality, 1 new batch; but the 4 trainings that the policy allows so far are spent"


def test_history_grows_by_rows(product: Make) -> None:
    """Batches that were left out count as the others do on average; from nothing growth is without bound."""
    before = trained(product(), "tree", batches("a", "b"))
    dropped = replace(batches("b", "c"), dropped=2)

    assert grown(before, batches("a", "b", "c")) == 1.5
    assert grown(before, dropped) == pytest.approx(4 / 3)
    assert grown(before, batches("c")) == math.inf


def test_an_incident_without_anything_new_waits_for_data(product: Make) -> None:
    """Old batches that fell out of the window bring nothing to learn from."""
    decision = decide(product(), "incident", batches("2"))

    assert not decision.train
    assert "no new data" in decision.reason


def test_never_means_never_on_data(product: Make) -> None:
    """The policy `never` trains neither on batches nor on incidents, but a person may ask."""
    silent = product(training={"retrain": "never"})
    new = batches("1", "2", "3")

    assert not decide(silent, "batch", new).train
    assert not decide(silent, "incident", new).train
    assert "forbids" in decide(silent, "incident", new).reason
    assert decide(silent, "manual", new).train


@pytest.mark.parametrize(("new", "train"), [(("3",), False), (("3", "4"), False), (("3", "4", "5"), True)])
def test_a_policy_can_train_every_third_batch(product: Make, new: tuple[str, ...], train: bool) -> None:
    """Then the third new batch trains; the reason counts them."""
    decision = decide(product(training={"retrain": {"every_batches": 3}}), "batch", batches("1", "2", *new))

    assert decision.train is train
    assert f"{len(new)} new batch" in decision.reason


def test_every_batch_trains_on_each(product: Make) -> None:
    """Under `every_batch` one new batch is enough; a commit event with new data counts as well."""
    eager = product(training={"retrain": "every_batch"})

    assert decide(eager, "batch", batches("1", "2", "3")).train
    assert decide(eager, "commit", batches("1", "2", "3")).train


def test_own_knobs_are_obeyed(product: Make) -> None:
    """A policy written out in the YAML works like the named ones."""
    own = product(training={"retrain": {"on_degraded": False, "every_batches": 2}})

    assert not decide(own, "batch", batches("1", "2", "3")).train
    assert decide(own, "batch", batches("1", "2", "3", "4")).train
    assert not decide(own, "incident", batches("1", "2", "3")).train


def test_new_batches_are_told_by_content(product: Make) -> None:
    """The same content under another key is nothing new."""
    current = trained(product(), "tree", batches("1", "2"))
    renamed = TrainingSet(batches=(BatchWeight(key="x", digest="2", rows=100, weight=1.0),), digest="d")

    assert new_batches(current, renamed) == 0
    assert new_batches(current, batches("1", "2", "3", "4")) == 2


def test_key_depends_on_what_determines_a_model_and_on_nothing_else(product: Make) -> None:
    """Owners, deliveries and descriptions do not change a model; code, data, parameters and versions do."""
    base = model_key("tree", batches("1"), product(), "lock")
    same = model_key("tree", batches("1"), product(owners=["x"], description="y", delivery={"mode": "suggest"}), "lock")
    others = {
        model_key("other", batches("1"), product(), "lock"),
        model_key("tree", batches("2"), product(), "lock"),
        model_key("tree", batches("1"), product(estimator="forest"), "lock"),
        model_key("tree", batches("1"), product(data={"exclude": []}), "lock"),
        model_key("tree", batches("1"), product(monitoring={"metric": "rmse"}), "lock"),
        model_key("tree", batches("1"), product(name="other"), "lock"),
        model_key("tree", batches("1"), product(), "newer"),
        model_key("tree", batches("1"), product(training={"retrain": "every_batch"}), "lock"),  # no average
    }

    assert base == same
    assert len(others | {base}) == 9


@pytest.mark.parametrize(
    ("policy", "fresh", "said"),
    [
        (Policy(), 2, (False, "2 new batches: the policy waits for live quality to suffer")),
        (Policy(every_batches=2), 1, (False, "1 new batch: the policy retrains after 2")),
        (Policy(every_batches=2), 2, (True, "2 new batches")),
    ],
)
def test_new_data_alone_is_judged_without_a_model(policy: Policy, fresh: int, said: tuple[bool, str]) -> None:
    """A backtest asks by the count of batches, in the live loop's words."""
    evidence = Evidence(scores=(), live=0, fresh=fresh, grown=2.0, trainings=0)

    assert on_new_data(policy, "batch", evidence) == said


def averaging(model: TrainedModel, **changes: Any) -> TrainedModel:
    """As a live version that averages two histories."""
    return replace(model, averaged=Averaged(histories=("a", "b"), shares=(0.5, 0.5)), **changes)


def test_fits_are_averaged_anew_where_nothing_trains(product: Make) -> None:
    """Under `economy`, once for what there is; not those of other code, of a single fit, or for too few rows."""
    made, new = product(), batches(*"12345678", "9")
    before = trained(made, "tree", batches(*"12345678"))
    live = averaging(before)
    decision = decide(made, "batch", new, current=before, live=live)
    few = replace(new, batches=(*new.batches[:-1], replace(new.batches[-1], rows=29)))
    never = product(training={"retrain": "never"})
    still = averaging(trained(never, "tree", batches(*"12345678")))

    assert (decision.train, decision.renew) == (True, True)
    assert decision.key == renewed_key(before.key, new.digest)
    assert decision.reason == (
        "1 new batch: the live model is not proven worse than at its start or before it; its fits are averaged anew"
    )
    for other in (None, before, averaging(trained(made, "older", batches("1")))):
        assert not decide(made, "batch", new, current=before, live=other).train
    assert not decide(made, "batch", few, current=before, live=live).train
    assert not decide(made, "batch", new, current=before, live=live, renew=False).train
    assert not decide(never, "batch", new, current=still, live=still).train


def test_a_renewed_model_is_as_old_as_its_fits(product: Make) -> None:
    """The same data make nothing new; one more batch averages again; growth counts from the newest training."""
    made, old, new = product(), batches(*"1234"), batches(*"12345")
    base = trained(made, "tree", old)
    renewal = Renewal(line="7", training_set=new.digest, attempted=tuple("1234"))
    renewed = averaging(base, version="8", key=renewed_key(base.key, new.digest), renewal=renewal)
    more = batches(*"123456")
    again = decide(made, "batch", more, current=renewed, live=renewed)
    twice = decide(made, "batch", batches(*"12345678"), current=renewed, live=renewed)
    attempted = replace(renewed, renewal=replace(renewal, attempted=tuple("12345")))

    assert decide(made, "batch", new, current=renewed, live=renewed).reason == "nothing changed since version 8"
    assert (again.renew, again.key) == (True, renewed_key(base.key, more.digest))
    assert (twice.train, twice.renew, twice.reason) == (True, False, "history has grown by 100%")
    assert new_batches(attempted, more) == new_batches(renewed, more) - 1 == 1
    assert decide(made, "commit", new, current=renewed, live=renewed, tree="other").reason == "new commit"
    assert decide(made, "batch", new, current=renewed, live=renewed, lock_digest="x").reason.startswith("new param")


def test_an_alarm_counts_a_line_of_versions_as_one_model(product: Make) -> None:
    """Scores are by the version that was fitted, and the live one is of that line."""
    made, old, new = product(), batches(*"1234"), batches(*"12345678")
    base = trained(made, "tree", old)
    renewal = Renewal(line="7", training_set="x", attempted=tuple("1234567"))
    renewed = averaging(base, version="9", key=renewed_key(base.key, "x"), renewal=renewal)
    scores = [Labelled(number=n, rows=100, loss=0.1 if n < 3 else 0.9, error=0.03, model="7") for n in range(4)]

    decision = decide(made, "batch", new, current=renewed, live=renewed, scores=lambda: scores)

    assert (decision.train, decision.renew) == (True, False)
    assert decision.reason.startswith("the live model lost 0.9 a row")


def strange(model: TrainedModel, *out: str, learned: str = "", version: str = "7") -> TrainedModel:
    """One that says which batches it found strange, and which of them its own fits have learned from."""
    renewal = Renewal(line="7", training_set="x", attempted=tuple("1234")) if learned else None
    said = Averaged(histories=("a", "b"), shares=(0.5, 0.5), strange=out, spoiled=tuple(learned))
    return replace(model, version=version, averaged=said, renewal=renewal)


def test_a_model_that_learned_from_a_strange_batch_is_spoiled(product: Make) -> None:
    """Until a training was tried, live or not; not when it was fitted before that batch came."""
    made, new = product(), batches(*"12345")
    base = trained(made, "tree", batches(*"1234"))
    live = strange(base, "3", learned="3", version="8")

    assert spoiled(live, live)
    assert spoiled(base, live)  # a renewed one that failed its checks
    assert not spoiled(base, base)
    assert not spoiled(strange(base, "3"), strange(base, "3"))  # left out of its fits
    assert spoiled(live, base)
    newer = strange(trained(made, "tree", new), "3", version="9")
    back = replace(live, renewal=Renewal(line="7", training_set="x", attempted=tuple("12345")))
    assert not any(spoiled(live, tried) for tried in (newer, back))  # a newer training did not stay
    older = strange(base, "9", learned="9", version="8")
    assert not spoiled(older, older)

    known = replace(live, key=renewed_key(base.key, "x"))
    decision = decide(made, "batch", new, current=known, live=known)
    assert (decision.train, decision.renew) == (True, False)
    assert decision.reason == "the live model has learned from a batch that is strange by itself"

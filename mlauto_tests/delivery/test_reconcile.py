"""Which steps are left: every state between a new model and its production."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mlauto.delivery.reconcile import wanted
from mlauto.records import CheckOutcome, Deployment, Image, TrainedModel
from mlauto.store import Store
from mlauto_tests.delivery.conftest import make_model

GOOD = CheckOutcome(name="c", passed=True, summary="")
BAD = CheckOutcome(name="c", passed=False, summary="")
IMAGE = Image(kind="fake", digest="i3", reference="", version="3", key="key-3", checks=(GOOD,))
TEST = Deployment(environment="test", version="3", image="i3", since=1.0, checks=(GOOD,))
LIVE = Deployment(environment="production", version="3", image="i3", since=1.0)
OLD = replace(LIVE, version="2", image="i2")
NEW = replace(LIVE, version="4", image="i4")
ALL = ("image", "test_deployment", "production")

Ask = Callable[..., tuple[str, ...]]


@pytest.fixture
def model(store: Store) -> TrainedModel:
    return make_model(store, "3")


@pytest.fixture
def ask(model: TrainedModel) -> Ask:
    """The steps wanted of model 3."""

    def call(image: Any = None, test: Any = None, production: Any = None, **more: Any) -> tuple[str, ...]:
        given: dict[str, Any] = {"rejected": (), "mode": "auto"} | more
        return wanted(given.pop("model", model), image, test, production, **given)

    return call


@pytest.mark.parametrize(
    ("image", "test", "production", "steps"),
    [
        (None, None, None, ALL),
        (None, None, OLD, ALL),
        (replace(IMAGE, version="2"), None, OLD, ALL),
        (replace(IMAGE, key="other"), TEST, OLD, ALL),
        (replace(IMAGE, checks=(BAD,)), None, OLD, ()),
        (IMAGE, None, OLD, ALL[1:]),
        (IMAGE, replace(TEST, version="2"), OLD, ALL[1:]),
        (IMAGE, replace(TEST, image="other"), OLD, ALL[1:]),
        (IMAGE, replace(TEST, checks=(GOOD, BAD)), OLD, ()),
        (IMAGE, TEST, None, ALL[2:]),
        (IMAGE, TEST, OLD, ALL[2:]),
        (IMAGE, TEST, replace(LIVE, image="other"), ALL[2:]),
        (IMAGE, TEST, LIVE, ()),
        (IMAGE, None, LIVE, ()),
        (None, None, NEW, ()),
    ],
)
def test_every_state(ask: Ask, image: Any, test: Any, production: Any, steps: tuple[str, ...]) -> None:
    """From the first step that is not done; nothing of what failed, or is older than production."""
    assert ask(image, test, production) == steps


def test_without_a_model_that_passed(ask: Ask, model: TrainedModel) -> None:
    """There is nothing to deliver."""
    assert ask(model=None) == ()
    assert ask(model=replace(model, checks=(GOOD, BAD))) == ()


def test_a_mode_that_waits_for_people(ask: Ask) -> None:
    """The version is built and verified, and goes to production once it is approved."""
    assert ask(mode="approve") == ALL[:2]
    assert ask(IMAGE, TEST, OLD, mode="approve") == ()
    assert ask(IMAGE, TEST, OLD, mode="approve", approved={"2"}) == ()
    assert ask(IMAGE, TEST, OLD, mode="approve", approved={"3"}) == ("production",)


def test_a_mode_that_only_suggests(ask: Ask) -> None:
    """Nothing goes to production, approved or not."""
    assert ask(mode="suggest") == ALL[:2]
    assert ask(IMAGE, TEST, OLD, mode="suggest", approved={"3"}) == ()


def test_a_rollout_under_way_goes_on_in_its_own_time(ask: Ask) -> None:
    """It is not asked for at every tick, nor before another's has ended; image and test do not wait."""
    assert ask(IMAGE, TEST, OLD, held_back=True) == ()
    assert ask(None, None, OLD, held_back=True) == ("image", "test_deployment")


def test_rejected_versions_do_not_come_back(ask: Ask) -> None:
    """Neither from the beginning nor from where they were."""
    assert ask(rejected={"3"}) == ()
    assert ask(IMAGE, TEST, OLD, rejected={"3"}) == ()
    assert ask(IMAGE, TEST, OLD, rejected={"1"}) == ("production",)


def test_a_rollback_that_was_cut_short_is_finished(ask: Ask) -> None:
    """Production is rejected: production is wanted again, unless a newer model cures it by itself."""
    assert ask(IMAGE, TEST, LIVE, rejected={"3"}) == ("production",)
    assert ask(IMAGE, TEST, LIVE, rejected={"3"}, model=None) == ("production",)
    assert ask(IMAGE, TEST, NEW, rejected={"4"}) == ("production",)
    assert ask(None, None, OLD, rejected={"2"}) == ALL

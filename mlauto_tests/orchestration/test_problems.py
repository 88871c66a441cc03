"""What goes wrong is kept for `mlauto status`, and forgotten once it goes well."""

import pytest

from mlauto.errors import SourceError, TrainingError
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.problems import keeps_problem, kept_problem
from mlauto.product import Code, Data, ModelProduct
from mlauto.records import Problem
from mlauto.settings import Settings
from mlauto.store import Store

PRODUCT = ModelProduct(
    name="tides",
    code=Code(repository="models/tides", estimator="tides.model:build"),
    data=Data(landing="landing/tides", target="level", task="regression"),
)


def kept(store: Store, where: str) -> Problem | None:
    """The problem of one place."""
    return store.read_record("tides", f"problems/{where}", Problem)


def fails(store: Store, text: str) -> None:
    """A block that fails at the place `commits`."""
    with pytest.raises(SourceError, match=text), kept_problem(store, "tides", "commits"):
        raise SourceError(text)


def test_an_error_goes_on_and_is_kept_until_all_is_well(store: Store) -> None:
    """The same words keep their time, other words have a new one, and a success ends it."""
    fails(store, "no network")
    first = kept(store, "commits")
    fails(store, "no network")
    again = kept(store, "commits")
    fails(store, "no access")
    other = kept(store, "commits")
    with kept_problem(store, "tides", "commits"):
        pass

    assert first is not None
    assert (first.where, first.text) == ("commits", "no network")
    assert again == first
    assert other is not None
    assert other.text == "no access"
    assert other.since > first.since
    assert kept(store, "commits") is None


def test_a_remark_is_kept_without_an_error(store: Store) -> None:
    """Not everything that a person should know is a failure."""
    with kept_problem(store, "tides", "commits") as remarks:
        remarks.append("no branch yet")

    found = kept(store, "commits")
    assert found is not None
    assert found.text == "no branch yet"


def test_a_step_that_fails_leaves_its_sentence(settings: Settings) -> None:
    """Each step has a place of its own; arguments and result pass through."""
    platform = Platform.from_settings(settings)

    @keeps_problem("model")
    def train(platform: Platform, product: ModelProduct, seed: int, *, log: str) -> str:
        del platform
        if seed < 0:
            raise TrainingError(f"{product.name}: {log}")
        return f"{product.name} {seed} {log}"

    with pytest.raises(TrainingError):
        train(platform, PRODUCT, -1, log="the matrix is singular")
    failed = kept(platform.store, "model")
    result = train(platform, PRODUCT, 1, log="fine")

    assert failed is not None
    assert failed.text == "tides: the matrix is singular"
    assert (result, kept(platform.store, "model")) == ("tides 1 fine", None)

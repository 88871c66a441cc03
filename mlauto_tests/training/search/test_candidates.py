"""What a search tries."""

import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlauto.errors import TrainingError
from mlauto.training.search.candidates import SearchPlan, Span, candidates


def plan(parameters: dict[str, tuple[bool | int | float | str | None, ...] | Span], **fields: object) -> SearchPlan:
    """A plan for 20 candidates and a minute."""
    return SearchPlan(**{"parameters": parameters, "candidates": 20, "budget": 60.0, **fields})  # type: ignore[arg-type]


def test_incumbents_come_first_and_draws_are_those_of_the_seed() -> None:
    """The champion's values, the code's own, then as many as were asked for, all different."""
    asked = plan({"alpha": Span(low=0.01, high=100.0, log=True)}, champion={"alpha": 3.0})

    first, again, other = (candidates(asked, Ridge(), seed) for seed in (0, 0, 1))

    assert first == again != other
    assert [one.origin for one in first[:3]] == ["champion", "code", "drawn"]
    assert (first[0].parameters, first[1].parameters) == ({"alpha": 3.0}, {})
    assert [one.number for one in first] == list(range(1, 23))
    assert len({str(one.parameters) for one in first}) == 22


def test_a_champion_like_the_code_is_not_tried_twice() -> None:
    """And a value that the YAML no longer searches is the code's business again."""
    space = {"alpha": (0.5, 1.0, 2.0)}

    same = candidates(plan(space, champion={"alpha": 1.0}), Ridge(), 0)
    dropped = candidates(plan(space, champion={"solver": "svd"}), Ridge(), 0)

    assert [one.origin for one in same] == [one.origin for one in dropped] == ["code", "drawn", "drawn"]
    assert [one.parameters for one in same[1:]] != [{"alpha": 1.0}, {"alpha": 1.0}]


def test_a_small_space_is_tried_whole() -> None:
    """Fewer candidates than asked for, none twice, the code's own not again among the draws."""
    found = candidates(plan({"alpha": (1.0, 2.0), "fit_intercept": (True, False)}), Ridge(), 0)

    assert len(found) == 4
    assert {"alpha": 1.0, "fit_intercept": True} not in [one.parameters for one in found]


@pytest.mark.parametrize(
    ("span", "kind"),
    [
        (Span(low=2, high=9), int),
        (Span(low=2, high=9, log=True), int),
        (Span(low=2.0, high=9), float),
        (Span(low=0.001, high=9, log=True), float),
    ],
)
def test_draws_stay_within_their_span(span: Span, kind: type) -> None:
    """Plain numbers of the kind that was written; with whole ones, both ends occur."""
    found = candidates(plan({"alpha": span}, candidates=200), Ridge(alpha=1000.0), 0)
    drawn = [one.parameters["alpha"] for one in found if one.origin == "drawn"]

    assert {type(value) for value in drawn} == {kind}
    assert all(isinstance(value, int | float) and span.low <= value <= span.high for value in drawn)
    assert sorted(drawn) == list(range(2, 10)) if kind is int else len(drawn) == 200  # type: ignore[type-var]


def test_a_logarithm_is_drawn_evenly() -> None:
    """Half of the draws lie below the middle decade."""
    found = candidates(plan({"alpha": Span(low=0.01, high=100.0, log=True)}, candidates=400), Ridge(), 0)
    low = [one for one in found[1:] if float(str(one.parameters["alpha"])) < 1.0]

    assert 160 < len(low) < 240


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("alpha", "did you mean 'ridge__alpha'"),
        ("ridge__alhpa", "did you mean 'ridge__alpha'"),
        ("zzz", "; it has memory, ridge, "),
    ],
)
def test_a_parameter_that_is_none_is_named_with_the_nearest(name: str, said: str) -> None:
    """A step's name is what people forget."""
    with pytest.raises(TrainingError, match=f"training.search: the estimator has no parameter {name!r}") as caught:
        candidates(plan({name: (1, 2)}), make_pipeline(StandardScaler(), Ridge()), 0)

    assert said in str(caught.value)

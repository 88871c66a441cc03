"""Normal scores and the polynomials over them."""

import numpy as np
import pytest

from mlauto.monitoring.drift.basis import components, normal_scores


def test_scores_are_those_of_a_normal_variable() -> None:
    """Two halves have the mean of half a normal variable; of many bins the variance is 1."""
    scores = np.array(normal_scores([10] * 256))

    assert normal_scores([5, 5]) == pytest.approx([-0.797885, 0.797885])
    assert scores.mean() == pytest.approx(0, abs=1e-6)
    assert scores.std() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("counts", [[10] * 256, [1, 900, 3, 50, 7, 20], [5, 995]])
def test_components_are_orthonormal_over_the_reference(counts: list[int]) -> None:
    """Mean 0, variance 1, no correlation, whatever the ties."""
    weights = np.array(counts) / sum(counts)
    made = components(counts, normal_scores(counts))

    assert len(made) == min(4, len(counts) - 1)
    assert (made @ weights).tolist() == pytest.approx([0] * len(made), abs=1e-6)
    assert ((made * weights) @ made.T).tolist() == [pytest.approx(row, abs=1e-6) for row in np.eye(len(made)).tolist()]


def test_components_of_a_continuous_column_are_hermites() -> None:
    """The first is the score itself, the second its square."""
    counts = [10] * 256
    scores = np.array(normal_scores(counts))
    first, second, third, _ = components(counts, scores.tolist())

    assert np.corrcoef(first, scores)[0, 1] == pytest.approx(1)
    assert np.corrcoef(second, scores**2)[0, 1] == pytest.approx(1, abs=1e-6)
    assert third[-1] > 0 > third[0]

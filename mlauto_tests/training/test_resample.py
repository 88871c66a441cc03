"""Rows that stand for weights: unbiased, bounded, and the same every time."""

import numpy as np
import pytest

from mlauto.training.resample import resampled

BATCHES = np.repeat([0.125, 0.25, 0.5, 1.0], [800, 400, 401, 200])


def test_a_row_is_kept_once_or_not_at_all_in_order_of_time() -> None:
    """Positions rise, so no row counts twice; the newest batch, of full weight, stays whole."""
    kept = resampled(BATCHES)

    assert (np.diff(kept) > 0).all()
    assert set(range(1601, 1801)) <= set(kept.tolist())


@pytest.mark.parametrize("seed", range(20))
def test_every_batch_keeps_its_share(seed: int) -> None:
    """Of each batch rows x weight are kept, rounded up or down; in all, the sum of the weights."""
    kept = resampled(BATCHES, seed=seed)

    counts = np.histogram(kept, bins=[0, 800, 1200, 1601, 1801])[0]
    assert np.abs(counts - [100, 100, 200.5, 200]).max() <= 1
    assert abs(len(kept) - BATCHES.sum()) < 1


def test_the_same_inputs_give_the_same_rows() -> None:
    """Another seed gives others."""
    assert np.array_equal(resampled(BATCHES, seed=3), resampled(BATCHES, seed=3))
    assert not np.array_equal(resampled(BATCHES, seed=3), resampled(BATCHES, seed=4))


def test_the_expectation_is_the_weighted_mean() -> None:
    """Over many seeds the mean of what is kept is what an estimator that takes weights finds: no bias."""
    random = np.random.default_rng(0)
    weights = random.choice([0.05, 0.3, 0.7, 1.0], 500)
    values = random.normal(size=500) + weights  # heavier rows are larger: without weights the mean is another
    means = np.array([values[resampled(weights, seed=seed)].mean() for seed in range(2000)])

    weighted = np.average(values, weights=weights)
    error = means.std(ddof=1) / np.sqrt(len(means))
    assert abs(means.mean() - weighted) < 4 * error
    assert abs(values.mean() - weighted) > 20 * error


def test_each_row_has_its_chance() -> None:
    """Inclusion frequencies follow the weights row by row, wherever a row stands in its batch."""
    weights = np.repeat([0.25, 0.5, 1.0], 40)
    kept = np.zeros(120)
    for seed in range(4000):
        kept[resampled(weights, seed=seed)] += 1

    assert np.abs(kept / 4000 - weights).max() < 0.04


def test_hourly_rows_do_not_become_the_same_hours_of_every_day() -> None:
    """Weight 1/8 of hourly data keeps all hours, not every eighth."""
    weights = np.concatenate([np.full(24 * 50, 0.125), np.ones(24)])
    older = resampled(weights)[:-24]

    assert len(set((older % 24).tolist())) >= 20


def test_every_class_that_was_there_stays() -> None:
    """A rare class of light rows is kept by its heaviest row, the newest of those."""
    weights = np.repeat([0.01, 0.02, 1.0], [5, 5, 100])
    classes = np.array(["rare"] * 10 + ["usual"] * 100, dtype=object)
    absent = 0
    for seed in range(50):
        kept = resampled(weights, classes, seed=seed)
        assert set(classes[kept]) == {"rare", "usual"}
        absent += "rare" not in classes[resampled(weights, seed=seed)]
        if "rare" not in classes[resampled(weights, seed=seed)]:
            assert kept[0] == 9
    assert absent > 25


def test_equal_weights_keep_all_rows_and_one_row_is_enough() -> None:
    """There is nothing to thin out."""
    assert resampled(np.full(7, 0.3)).tolist() == list(range(7))
    assert resampled(np.array([0.2])).tolist() == [0]


def test_rows_without_weight_are_never_kept() -> None:
    """Not even for the sake of a class that has no others."""
    weights = np.repeat([0.0, 0.5, 1.0], 20)
    classes = np.repeat(["gone", "old", "new"], 20).astype(object)

    assert resampled(weights, classes).min() >= 20

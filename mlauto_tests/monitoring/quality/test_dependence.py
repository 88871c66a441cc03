"""How alike neighbours are is found at any scale, whatever the looks."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from mlauto.monitoring.quality.dependence import FEWEST, SAFETY, gathered, inflation


def stream(alike: float, count: int, seed: int = 0) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=count)
    return np.asarray(lfilter([1.0], [1.0, -alike], noise))


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9])
def test_an_autoregressive_stream(alike: float) -> None:
    """That of an AR(1) stream is (1 + r) / (1 - r), and what is beyond 1 counts twice."""
    true = 1 + SAFETY * ((1 + alike) / (1 - alike) - 1)

    found = inflation(gathered((), stream(alike, 50_000)))

    assert found is not None
    assert 0.9 * true < found < 1.5 * true


def test_what_only_long_blocks_have_in_common_is_found() -> None:
    """Days with rates of their own, of hardly any correlation from row to row."""
    random = np.random.default_rng(4)
    days = np.repeat(random.normal(0, 0.3, 400), 100)

    found = inflation(gathered((), days + random.normal(size=len(days))))

    assert found is not None
    assert 10 < found < 25  # truly 10 / 1.09, so that 17 is expected


def test_looks_make_no_difference() -> None:
    """Value by value, or all at once: the same sums."""
    values = stream(0.6, 333)
    whole = gathered((), values)
    parts = gathered((), values[:0])
    for at in range(0, len(values), 7):
        parts = gathered(parts, values[at : at + 7])

    assert [scale.values for scale in parts] == [scale.values for scale in whole] == [333, 166, 83, 41, 20, 10, 5, 2, 1]
    assert inflation(parts) == pytest.approx(inflation(whole))


def test_unknown_and_never_below_one() -> None:
    """Few values say nothing, nor do constant ones; values that alternate are no reason to bet more."""
    assert inflation(()) is None
    assert inflation(gathered((), stream(0.0, FEWEST - 1))) is None
    assert inflation(gathered((), np.ones(100))) is None
    assert inflation(gathered((), np.tile([0.0, 1.0], 50_000))) == pytest.approx(1.0, abs=0.01)


def test_a_mean_that_jumps_or_drifts_is_no_dependence() -> None:
    """What is to be found does not pass for rows that are alike."""
    random = np.random.default_rng(6)
    level = inflation(gathered((), random.normal(size=4_000)))
    jump = inflation(gathered((), random.normal(size=4_000) + np.repeat([0.0, 0.5], 2_000)))
    drift = inflation(gathered((), random.normal(size=4_000) + np.linspace(0, 1, 4_000)))

    assert level is not None
    assert jump == pytest.approx(level, abs=0.3 * SAFETY)
    assert drift == pytest.approx(level, abs=0.3 * SAFETY)


def test_little_is_known_of_few_rows() -> None:
    """They are expected to be rather alike, less so the more there are."""
    found = [inflation(gathered((), stream(0.0, count))) for count in (30, 300, 30_000)]

    assert None not in found
    assert found == sorted(found, key=lambda value: -(value or 0.0))
    assert found[0] == pytest.approx(3.3, abs=0.3)
    assert found[2] == pytest.approx(1.0, abs=0.2)

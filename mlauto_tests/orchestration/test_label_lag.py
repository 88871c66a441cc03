"""Seconds of delay as batches: whole ones that come in between."""

from collections.abc import Sequence

import pytest

from mlauto.delivery.history import Served, note
from mlauto.measured import LabelDelay, LiveMetrics
from mlauto.orchestration.label_lag import in_batches, label_lag
from mlauto.records import Batch, Validation
from mlauto.training.training_set import accept
from mlauto_tests.orchestration.conftest import World


@pytest.mark.parametrize(
    ("seconds", "arrivals", "lag"),
    [
        (0.0, (0, 60, 120), 0),
        (59.0, (0, 60, 120), 0),
        (60.0, (120, 0, 60), 1),
        (320.0, (0, 60, 120, 10_000), 5),  # one long pause is not the rule
        (1e9, (0, 60, 120), 50),
        (60.0, (0, 60), 0),
        (60.0, (), 0),
        (60.0, (5, 5, 5), 0),
    ],
)
def test_seconds_become_batches(seconds: float, arrivals: Sequence[float], lag: int) -> None:
    """By the median distance of arrivals; too few of them say nothing."""
    assert in_batches(seconds, arrivals) == lag


def arrive(world: World, times: Sequence[float]) -> None:
    """Batches are accepted that came at these times."""
    for at in times:
        batch = Batch(
            key=f"k{at}",
            files=(),
            rows=1,
            digest=f"{at}",
            validation=Validation(passed=True, evaluated=1),
            arrived=at,
        )
        world.store.write_record("tides", f"batches/{batch.key}", batch)
        accept(world.store, "tides", batch, {})


def measured(world: World, seconds: float) -> None:
    """The live sensor wrote this delay down."""
    metrics = LiveMetrics(
        version="1",
        measured=1.0,
        requests=9,
        errors=0,
        p50_ms=None,
        p99_ms=None,
        labelled=0,
        quality=None,
        label_delay=LabelDelay(median=seconds, p90=300.0, labels=50),
    )
    world.store.write_record("tides", "live_metrics", metrics)


def test_the_measured_delay_counts(world: World) -> None:
    """None without labels; then what the live sensor wrote down, by the accepted batches' arrivals."""
    assert label_lag(world.store, world.product) == 0
    arrive(world, [0.0, 60.0, 120.0, 180.0])
    measured(world, 200.0)

    assert label_lag(world.store, world.product) == 3


def test_history_that_was_handed_over_at_once_is_no_rate_of_batches(world: World) -> None:
    """Its files come within seconds; what came since a version went live counts, once that says something."""
    arrive(world, [0.0, 5.0, 10.0, 15.0, 20.0])
    note(world.store, "tides", Served(at=30.0, champion="1"))
    measured(world, 130.0)
    assert label_lag(world.store, world.product) == 0

    arrive(world, [60.0, 120.0, 180.0])
    note(world.store, "tides", Served(at=150.0, champion="2"))
    assert label_lag(world.store, world.product) == 2

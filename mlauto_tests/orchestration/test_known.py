"""What a version showed on its holdout is on record from its training on."""

from dataclasses import replace

import msgspec
import pytest

from mlauto.errors import TrainingError
from mlauto.orchestration.known import ATTACHED, keep_known, read_known
from mlauto.orchestration.live import observe
from mlauto.training.exchange import Holdout, written
from mlauto_tests.orchestration.conftest import World, made_product

TRUTH = [float(number % 24) for number in range(40)]


def segmented(world: World) -> World:
    """The same world, of a product that names a column; its version is as newly trained, with a holdout four times."""
    monitoring = {"every": "0s", "min_labels": 20, "window": 40, "segments": ["hour"]}
    world.products = [made_product(monitoring=monitoring)]
    world.store.record_path("tides", "known/1").unlink()
    path = world.store.tree_path(world.model().artifact) / "holdout.json"
    holdout = written(path, Holdout)
    answers = replace(holdout.answers, predictions=[*holdout.answers.predictions] * 4)
    more = replace(holdout, rows=holdout.rows * 4, labels=holdout.labels * 4, answers=answers)
    path.write_bytes(msgspec.json.encode(more))
    keep_known(world.platform, world.product, world.model())
    return world


def test_training_records_what_the_holdout_shows(released: World) -> None:
    """Without named columns there are no segments, and the record is there."""
    known = read_known(released.platform, released.product, "1")

    assert known is not None
    assert (known.metric, known.segments) == ("mae", {})
    assert read_known(released.platform, released.product, "2") is None
    assert read_known(released.platform, released.product, None) is None


def test_named_columns_make_segments_that_are_watched(released: World) -> None:
    """From the holdout to the live metrics: each with its reference, its own rows and its own detector."""
    world = segmented(released)
    known = read_known(world.platform, world.product, "1")
    assert known is not None
    assert len(known.columns["hour"].edges) == 3

    world.serve(TRUTH, [y + 9.0 for y in TRUTH])
    found = observe(world.platform, world.product).metrics

    assert len(known.segments) == 4
    assert [one.segment for one in found.segments] == ["hour < 7"]
    assert found.detection is not None
    assert found.detection.rows == 40
    assert found.detection.alarmed


def test_it_is_attached_to_the_run(released: World) -> None:
    """Expected scores with their bounds, and each segment's."""
    world = segmented(released)
    model = world.model()

    found = msgspec.json.decode(world.registry.attached[model.run_id, ATTACHED])

    assert found["scores"] == [*msgspec.to_builtins(model.scores)]
    known = read_known(world.platform, world.product, "1")
    assert known is not None
    assert known.segments
    assert found["known"]["segments"] == msgspec.to_builtins(known.segments)


def test_it_is_recorded_once_and_only_from_a_whole_holdout(released: World) -> None:
    """A model of before holdouts were kept has none; a holdout that is damaged is named."""
    world = segmented(released)
    before = read_known(world.platform, world.product, "1")
    world.products = [made_product()]
    keep_known(world.platform, world.product, world.model())
    assert read_known(world.platform, world.product, "1") == before

    old = replace(world.model(), version="7", artifact="0" * 64)
    keep_known(world.platform, world.product, old)
    assert read_known(world.platform, world.product, "7") is None
    world.store.tree_path("0" * 64).mkdir(parents=True)
    (world.store.tree_path("0" * 64) / "holdout.json").write_text("{")
    with pytest.raises(TrainingError, match=r"no valid holdout\.json"):
        keep_known(world.platform, world.product, old)

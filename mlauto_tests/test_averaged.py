"""What is recorded of averages, and of models that were made of another one's fits."""

from collections.abc import Callable
from dataclasses import replace

from mlauto.averaged import Averaged, Renewal
from mlauto.records import BatchWeight, TrainedModel, TrainingSet
from mlauto.store import Store
from mlauto_tests.training.conftest import live_model

__all__ = ["live_model"]  # a fixture

AB = TrainingSet(batches=tuple(BatchWeight(key=n, digest=n, rows=9, weight=1.0) for n in "ab"), digest="ab")


def test_a_renewed_model_is_of_its_fits_line(store: Store, live_model: Callable[..., TrainedModel]) -> None:
    """A model has its own line and was the newest training; one that was renewed says whose fits it has."""
    model = live_model(AB)
    averaged = Averaged(histories=("a", "b"), shares=(0.5, 0.5), tried=((1.0, 0.5, 2.0),))
    renewal = Renewal(line="7", training_set="abcd", attempted=("a", "b", "c"))
    renewed = replace(model, version="9", averaged=averaged, renewal=renewal)

    store.write_record("tides", "models/9", renewed)

    assert (model.line, model.attempted) == ("7", {"a", "b"})
    assert (renewed.line, renewed.attempted) == ("7", {"a", "b", "c"})
    assert store.read_record("tides", "models/9", TrainedModel) == renewed

"""What a product's state has for a backtest, and what is said when something is not there."""

import pytest

from mlauto.commands.history import edges_of
from mlauto.commands.stored_history import read_history
from mlauto.errors import DataError, MlautoError, StoreError, TrainingError
from mlauto.training.batches.frames import kinds_of
from mlauto.training.training_set import AcceptedBatches, accepted_batches
from mlauto_tests.commands.conftest import Harbour


def test_the_rows_are_those_of_the_batches_in_order(harbour: Harbour) -> None:
    """At the batches' own edges, in the kinds that training sees, at the verified commit."""
    found = read_history(harbour.platform, harbour.product, 3)

    assert found.batches == 10
    assert found.edges == edges_of(505, 10)
    assert found.frame["id"].tolist() == list(range(505))
    assert kinds_of(found.frame) == accepted_batches(harbour.platform.store, "tides").kinds
    assert found.commit.subject == "another model"
    fits = found.fits(harbour.product, harbour.settings.home / "backtest")
    assert list(fits.features.columns) == ["x", "noise"]
    assert fits.labels.tolist() == found.frame["y"].tolist()


def test_what_determines_a_fit_is_in_its_name(harbour: Harbour) -> None:
    """Code, columns, seed and batches are; the policy is not."""
    seen = [read_history(harbour.platform, harbour.product, 3).inputs]
    harbour.change(training={"retrain": "quality"})
    same = read_history(harbour.platform, harbour.product, 3).inputs
    harbour.change(training={"seed": 7})
    seen.append(read_history(harbour.platform, harbour.product, 3).inputs)
    harbour.change(data={"exclude": ["id", "noise"]})
    seen.append(read_history(harbour.platform, harbour.product, 3).inputs)
    harbour.commit("from sklearn.dummy import DummyClassifier as build\n")
    seen.append(read_history(harbour.platform, harbour.product, 3).inputs)
    shorten(harbour, 9)
    seen.append(read_history(harbour.platform, harbour.product, 3).inputs)

    assert same == seen[0]
    assert len(set(seen)) == 5


def shorten(harbour: Harbour, count: int) -> None:
    """Forget all but the first batches."""
    store = harbour.platform.store
    index = accepted_batches(store, "tides")
    store.write_record("tides", "batches_accepted", AcceptedBatches(batches=index.batches[:count], kinds=index.kinds))


@pytest.mark.parametrize(
    ("count", "initial", "said"),
    [
        (0, 5, "tides has no accepted batch yet: put data files into its landing folder"),
        (1, 5, "of the accepted batches of tides, which are 1: let more data land"),
        (5, 5, "--initial 5 leaves nothing to predict .* which are 5: use --initial 4 or fewer, or let more data land"),
    ],
)
def test_too_few_batches_are_said(harbour: Harbour, count: int, initial: int, said: str) -> None:
    """With what would do."""
    shorten(harbour, count)

    with pytest.raises(DataError, match=said):
        read_history(harbour.platform, harbour.product, initial)


def test_a_batch_that_is_gone_or_changed_is_named(harbour: Harbour) -> None:
    """By its key; nothing is trained on the rest in silence."""
    store = harbour.platform.store
    batch = accepted_batches(store, "tides").batches[4]
    path = store.object_path(batch.digest)
    path.write_bytes(b"other bytes")
    with pytest.raises(StoreError, match=f"batch {batch.key} of tides cannot be read: .* changed on disk"):
        read_history(harbour.platform, harbour.product, 3)
    path.unlink()
    with pytest.raises(StoreError, match=f"batch {batch.key} of tides cannot be read: .* is missing"):
        read_history(harbour.platform, harbour.product, 3)


def test_without_a_verified_commit_there_is_no_code(harbour: Harbour) -> None:
    """And how there will be."""
    harbour.platform.store.record_path("tides", "verified_commit").unlink()

    with pytest.raises(TrainingError, match=r"no verified commit yet: .* materialize tides/verified_commit"):
        read_history(harbour.platform, harbour.product, 3)


def test_columns_that_the_data_does_not_have_are_named(harbour: Harbour) -> None:
    """As training names them."""
    harbour.change(data={"target": "z"})
    found = read_history(harbour.platform, harbour.product, 3)

    with pytest.raises(MlautoError, match=r"the data has no column 'z': correct data\.target"):
        found.fits(harbour.product, harbour.settings.home)

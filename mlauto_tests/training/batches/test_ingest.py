"""From landed files to a recorded outcome, however often it takes."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pandas as pd
import pytest

from mlauto.commands.stream import DemandStream, corrupt
from mlauto.errors import DataError, ProductError
from mlauto.product import Code, Data, ModelProduct
from mlauto.records import Batch, Validation
from mlauto.store import Store, atomic_write
from mlauto.training.batches import quality
from mlauto.training.batches.frames import kinds_of
from mlauto.training.batches.ingest import ingest, quarantined
from mlauto.training.batches.landing import FolderLanding, pending, plan
from mlauto.training.training_set import accepted_batches

NOW = 1_750_000_000.0
PRODUCT = ModelProduct(
    name="demand",
    code=Code(repository="models/demand", estimator="demand.model:build"),
    data=Data(landing="landing", target="demand", timestamp="timestamp", task="regression"),
)


class Desk:
    """A landing folder, a store, and the two hands of the loop: drop files, take what is pending."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.landing = FolderLanding(folder)
        self.store = store
        self.clock = count(int(NOW))
        self.verdict = Validation(passed=True, evaluated=1)
        self.validated: list[pd.DataFrame] = []
        self.landing.prepare()

    def validate(self, frame: pd.DataFrame) -> Validation:
        self.validated.append(frame)
        return self.verdict

    def drop(self, name: str, content: pd.DataFrame | str | bytes) -> None:
        path = self.landing.folder / name
        if isinstance(content, pd.DataFrame):
            content = content.to_csv(index=False)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.utime(path, (NOW - 100, NOW - 100))

    def plan(self) -> str:
        plan(self.store, "demand", self.landing, float(next(self.clock)))
        return pending(self.store, "demand")[-1]

    def ingest(self, key: str, suite: Path | None = None) -> Batch:
        check = self.validate if suite is None else partial(quality.validate, suite_path=suite)
        return ingest(PRODUCT, key, store=self.store, landing=self.landing, validate=check)

    def arrive(self, **files: pd.DataFrame | str | bytes) -> Batch:
        for name, content in files.items():
            self.drop(name.replace("_", "."), content)
        return self.ingest(self.plan())

    def data(self, batch: Batch) -> pd.DataFrame:
        assert batch.digest is not None
        return pd.read_parquet(self.store.verified_file(batch.digest))

    def landed(self) -> list[str]:
        return sorted(path.name for path in self.landing.folder.iterdir())

    def held(self, key: str) -> list[str]:
        folder = self.store.home / "products" / "demand" / "quarantine" / key
        # Hidden: the temporary file of a write that was killed, which nothing reads.
        return sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.exists() else []


@pytest.fixture
def desk(tmp_path: Path, store: Store) -> Desk:
    return Desk(tmp_path / "landing", store)


def rows(start: int, number: int) -> pd.DataFrame:
    return DemandStream().frame(start, number)


def test_a_good_file_becomes_typed_parquet_in_the_index(desk: Desk) -> None:
    """Accepted data is in the store by its digest, recorded and indexed; the file stays where it is."""
    batch = desk.arrive(a_csv=rows(0, 50))

    assert (batch.outcome, batch.rows) == ("accepted", 50)
    assert desk.data(batch).equals(rows(0, 50))
    assert [entry.key for entry in accepted_batches(desk.store, "demand").batches] == [batch.key]
    assert desk.store.read_record("demand", f"batches/{batch.key}", Batch) == batch
    assert pending(desk.store, "demand") == ()
    assert desk.landed() == ["a.csv"]
    assert not list((desk.store.home / "tmp").iterdir())


def test_files_of_one_tick_are_one_batch_in_order_of_time(desk: Desk) -> None:
    """Rows are ordered by the product's timestamp, whatever the files are called."""
    batch = desk.arrive(a_csv=rows(30, 20), b_csv=rows(0, 30))

    assert [file.name for file in batch.files] == ["a.csv", "b.csv"]
    assert desk.data(batch).equals(rows(0, 50))


def test_later_files_are_brought_to_the_kinds_of_earlier_ones(desk: Desk) -> None:
    """Whole numbers that came as floats, digits that are codes, and another order of columns are put right."""
    first = rows(0, 30).assign(code="A12")
    desk.arrive(a_csv=first)
    second = rows(30, 30).assign(code="0012", hour=lambda frame: frame["hour"].astype(float))

    batch = desk.arrive(b_csv=second[sorted(second.columns)])

    data = desk.data(batch)
    assert list(data.columns) == list(first.columns)
    assert kinds_of(data) == kinds_of(desk.validated[0])
    assert set(data["code"]) == {"0012"}


def test_asking_again_gives_the_same_outcome(desk: Desk) -> None:
    """A recorded outcome is final: nothing is read, validated or entered twice."""
    first = desk.arrive(a_csv=rows(0, 20))
    (desk.landing.folder / "a.csv").unlink()

    assert desk.ingest(first.key) == first
    assert len(desk.validated) == 1
    assert accepted_batches(desk.store, "demand").total == 1


def test_a_renamed_copy_is_not_trained_on_twice(desk: Desk) -> None:
    """The same content under another name is a duplicate: recorded, told, and no error."""
    first = desk.arrive(a_csv=rows(0, 20))
    batch = desk.arrive(copy_csv=rows(0, 20))

    assert (batch.accepted, batch.outcome, batch.duplicates) == (False, "duplicate", ("copy.csv",))
    assert batch.validation.problem is not None
    assert f"a.csv of batch {first.key}" in batch.validation.problem
    assert pending(desk.store, "demand") == ()
    assert desk.held(batch.key) == []
    assert accepted_batches(desk.store, "demand").total == 1


def test_a_copy_among_new_files_is_left_out(desk: Desk) -> None:
    """New content beside a duplicate, and beside its own twin, is accepted once."""
    desk.arrive(a_csv=rows(0, 20))
    batch = desk.arrive(copy_csv=rows(0, 20), new_csv=rows(20, 20), twin_csv=rows(20, 20))

    assert batch.accepted
    assert batch.duplicates == ("copy.csv", "twin.csv")
    assert desk.data(batch).equals(rows(20, 20))


def test_a_failing_batch_goes_to_quarantine_with_its_reason(desk: Desk, tmp_path: Path) -> None:
    """Great Expectations' verdict on corrupt data lies beside the files, and `quarantined` lists it."""
    suite = tmp_path / "expectations.json"
    suite.write_text(json.dumps(quality.propose_suite(rows(0, 2500), target="demand", timestamp="timestamp")))
    desk.drop("bad.csv", corrupt(rows(2500, 200)))
    key = desk.plan()

    batch = desk.ingest(key, suite)

    assert (batch.outcome, batch.digest, batch.rows) == ("quarantined", None, 200)
    assert {failure.column for failure in batch.validation.failures} == {"demand", "humidity", "temperature", "weather"}
    assert desk.landed() == []
    assert desk.held(key) == ["bad.csv", "reason.json"]
    assert quarantined(desk.store, "demand") == (batch,)
    assert accepted_batches(desk.store, "demand").total == 0


def test_an_unreadable_file_goes_to_quarantine(desk: Desk) -> None:
    """What does not parse is a rejected batch that names the file, not a failed step."""
    batch = desk.arrive(broken_parquet=b"PAR1 not really")

    assert batch.outcome == "quarantined"
    assert batch.validation.problem is not None
    assert "broken.parquet cannot be read" in batch.validation.problem
    assert desk.held(batch.key) == ["broken.parquet", "reason.json"]
    assert desk.validated == []


@pytest.mark.parametrize("column", ["demand", "timestamp"])
def test_a_batch_without_target_or_timestamp_is_no_use(desk: Desk, column: str) -> None:
    """Even when the suite is content, the product's own columns must be there."""
    batch = desk.arrive(a_csv=rows(0, 20).drop(columns=column))

    assert batch.outcome == "quarantined"
    assert f"no column '{column}' (data." in str(batch.validation.problem)


def test_what_was_quarantined_may_come_back(desk: Desk) -> None:
    """After the suite was mended, the same file put back is a new batch, and is accepted."""
    desk.verdict = Validation(passed=False, evaluated=1)
    rejected = desk.arrive(a_csv=rows(0, 20))
    desk.verdict = Validation(passed=True, evaluated=1)
    held = desk.store.home / f"products/demand/quarantine/{rejected.key}/a.csv"
    held.rename(desk.landing.folder / "a.csv")

    assert desk.ingest(desk.plan()).accepted


def test_a_file_that_went_away_leaves_an_outcome(desk: Desk) -> None:
    """A batch of nothing is settled as withdrawn: it does not come back for ever."""
    desk.drop("a.csv", rows(0, 20))
    key = desk.plan()
    (desk.landing.folder / "a.csv").unlink()

    batch = desk.ingest(key)

    assert (batch.outcome, batch.files) == ("withdrawn", ())
    assert pending(desk.store, "demand") == ()


def test_a_file_that_changed_since_it_was_planned_arrives_later(desk: Desk) -> None:
    """Only what is as planned is read; the rest is another batch."""
    desk.drop("a.csv", rows(0, 20))
    desk.drop("b.csv", rows(20, 20))
    key = desk.plan()
    desk.drop("b.csv", rows(20, 30))

    first = desk.ingest(key)
    second = desk.ingest(desk.plan())

    assert [file.name for file in first.files] == ["a.csv"]
    assert [file.name for file in second.files] == ["b.csv"]
    assert second.rows == 30


def test_a_file_that_changes_under_the_reader_decides_nothing(desk: Desk) -> None:
    """The attempt fails, the plan stays, and the next attempt leaves the file out."""

    class Hasty(FolderLanding):
        looks = 0

        def fetch(self, name: str) -> Path:
            self.looks += 1
            if self.looks == 2:
                with (self.folder / name).open("a") as stream:
                    stream.write("\n")
            return super().fetch(name)

    desk.drop("a.csv", rows(0, 20))
    key = desk.plan()
    desk.landing = Hasty(desk.landing.folder)

    with pytest.raises(DataError, match=r"a\.csv changed while it was read"):
        desk.ingest(key)
    assert pending(desk.store, "demand") == (key,)
    assert desk.ingest(key).outcome == "withdrawn"


def test_a_useless_suite_decides_nothing(desk: Desk) -> None:
    """The product's own mistake is raised: no data is blamed or moved for it."""
    desk.drop("a.csv", rows(0, 20))
    key = desk.plan()

    with pytest.raises(ProductError):
        desk.ingest(key, desk.store.home / "nowhere.json")

    assert pending(desk.store, "demand") == (key,)
    assert desk.landed() == ["a.csv"]


def test_a_batch_that_was_never_planned_is_refused(desk: Desk) -> None:
    """Keys come from the landing folder only."""
    with pytest.raises(DataError, match="is not planned"):
        desk.ingest("20250101T000000000-12345678")


def test_a_reason_that_does_not_parse_is_named(desk: Desk) -> None:
    """Somebody edited the file: which one, and what to do."""
    atomic_write(desk.store.home / "products/demand/quarantine/k/reason.json", b"{}")

    with pytest.raises(DataError, match=r"reason\.json is not readable"):
        quarantined(desk.store, "demand")


def test_quarantine_lists_the_newest_first(desk: Desk) -> None:
    """People ask for what happened last, and never for more than they can read."""
    desk.verdict = Validation(passed=False, evaluated=1)
    batches = [desk.arrive(**{f"f{number}_csv": rows(number, 5)}) for number in range(4)]

    assert quarantined(desk.store, "demand", limit=2) == (batches[3], batches[2])


STEPS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


def killed_at(desk: Desk, key: str, step: int) -> bool:
    """Ingest in a child that dies at its file-system change number `step`; False when it got through before."""
    child = os.fork()
    if child == 0:
        left = iter(range(step))

        def hook(event: str, _: object) -> None:
            if event in STEPS and next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        code = 1
        try:
            desk.ingest(key)
            code = 0
        finally:
            os._exit(code)  # never back into pytest
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}
    return status != 0


def outcomes(desk: Desk, key: str) -> Iterator[object]:
    """Everything that the outcome of a batch consists of."""
    yield desk.store.read_record("demand", f"batches/{key}", Batch)
    yield accepted_batches(desk.store, "demand")
    yield from (desk.landed(), desk.held(key), pending(desk.store, "demand"))
    yield sorted(desk.store.record_names("demand", "landing_forget"))
    waiting = desk.store.record_path("demand", "waiting").with_suffix("")
    yield [path.read_bytes() for path in sorted(waiting.rglob("*.json"))]


@pytest.mark.parametrize(("passed", "gaps"), [(True, 0), (True, 15), (True, 20), (False, 0)])
def test_killed_between_any_two_steps_the_outcome_is_the_same(tmp_path: Path, passed: bool, gaps: int) -> None:
    """Kill -9 before each change of the file system in turn, then again in peace: one state, nothing lost or twice."""

    def fresh(name: str) -> tuple[Desk, str]:
        desk = Desk(tmp_path / name / "landing", Store(tmp_path / name / "home"))
        desk.verdict = Validation(passed=passed, evaluated=1)
        for name, start in (("a.csv", 0), ("b.csv", 20)):
            frame = rows(start, 20)
            desk.drop(name, frame.assign(demand=frame["demand"].where(frame.index >= gaps)))
        return desk, desk.plan()

    calm, key = fresh("calm")
    calm.ingest(key)
    expected = list(outcomes(calm, key))

    for step in count():
        desk, key = fresh(f"step{step}")
        killed = killed_at(desk, key, step)
        if killed:
            assert pending(desk.store, "demand") == (key,)
            desk.ingest(key)
        assert list(outcomes(desk, key)) == expected
        if not killed:
            break

    assert step >= 6

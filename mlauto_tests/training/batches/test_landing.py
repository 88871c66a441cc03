"""The landing folder as the data sensor sees it."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mlauto.errors import DataError
from mlauto.store import Store
from mlauto.training.batches import landing as module
from mlauto.training.batches.landing import (
    Cursor,
    FolderLanding,
    LandedFile,
    batch_key,
    forget,
    pending,
    plan,
    planned,
    scan,
    settle,
)

NOW = 1_750_000_000.0
LONG_AGO = NOW - 86_400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "landing"
    made.mkdir()
    return made


def put(folder: Path, name: str, content: str = "a\n1\n", mtime: float = LONG_AGO) -> Path:
    path = folder / name
    path.write_text(content)
    os.utime(path, (mtime, mtime))
    os.utime(folder, (NOW, NOW))
    return path


def names(found: module.Scan) -> list[str]:
    return [file.name for file in found.files]


def test_old_files_are_taken_at_the_first_look_in_order_of_name(folder: Path) -> None:
    """Files that have rested are complete; those of one look are one batch, ordered by name."""
    for name in ("b.csv", "a.parquet", "c.CSV.GZ"):
        put(folder, name)

    found = scan(FolderLanding(folder), Cursor(), NOW)

    assert names(found) == ["a.parquet", "b.csv", "c.CSV.GZ"]
    assert names(scan(FolderLanding(folder), found.cursor, NOW + 5)) == []


def test_a_fresh_file_is_taken_when_it_has_not_changed_since_the_last_look(folder: Path) -> None:
    """A file of this very second has to be seen twice with the same size and time."""
    put(folder, "a.csv", mtime=NOW)

    first = scan(FolderLanding(folder), Cursor(), NOW)
    second = scan(FolderLanding(folder), first.cursor, NOW + 1)

    assert (names(first), first.waiting) == ([], 1)
    assert names(second) == ["a.csv"]


def test_a_file_that_still_grows_is_left_alone(folder: Path) -> None:
    """As long as each look finds another size, the file is not taken."""
    cursor = Cursor()
    for second in range(4):
        put(folder, "a.csv", content="x" * (second + 1), mtime=NOW + second)
        found = scan(FolderLanding(folder), cursor, NOW + second)
        cursor = found.cursor
        assert names(found) == []

    assert names(scan(FolderLanding(folder), cursor, NOW + 4)) == ["a.csv"]


def test_a_file_moved_in_with_an_old_time_is_seen(folder: Path) -> None:
    """The order of modification times means nothing."""
    put(folder, "new.csv", mtime=NOW - 10)
    found = scan(FolderLanding(folder), Cursor(), NOW)
    put(folder, "old.csv", mtime=LONG_AGO - 1e6)

    assert names(scan(FolderLanding(folder), found.cursor, NOW + 5)) == ["old.csv"]


def test_a_rewritten_file_is_another_arrival(folder: Path) -> None:
    """Same name, other size or time: it is taken again."""
    put(folder, "a.csv")
    found = scan(FolderLanding(folder), Cursor(), NOW)
    put(folder, "a.csv", mtime=LONG_AGO + 5)

    assert names(scan(FolderLanding(folder), found.cursor, NOW + 5)) == ["a.csv"]


def test_temporary_and_foreign_files_are_not_data(folder: Path) -> None:
    """Hidden and temporary names are passed over in silence; other formats are named."""
    (folder / "deep.csv").mkdir()
    for name in (".hidden.csv", "a.csv.part", "b.tmp", "c.csv~", "report.xlsx", "line\nbreak.csv"):
        put(folder, name)

    found = scan(FolderLanding(folder), Cursor(), NOW)

    assert names(found) == []
    assert found.ignored == ("line\\nbreak.csv", "report.xlsx")


def test_an_unchanged_folder_is_not_listed_again_within_a_minute(folder: Path) -> None:
    """One stat answers a tick where nothing came or went; once a minute everything is looked at anyway."""

    class Counting(FolderLanding):
        listed = 0

        def files(self) -> list[LandedFile]:
            self.listed += 1
            return list(super().files())

    put(folder, "a.csv")
    os.utime(folder, (LONG_AGO, LONG_AGO))
    landing = Counting(folder)
    cursor = scan(landing, Cursor(), NOW).cursor

    for second in range(1, 60):
        cursor = scan(landing, cursor, NOW + second).cursor
    assert landing.listed == 1

    cursor = scan(landing, cursor, NOW + 60).cursor
    assert landing.listed == 2

    put(folder, "b.csv")
    assert names(scan(landing, cursor, NOW + 61)) == ["b.csv"]


def test_a_folder_that_changed_this_very_second_is_looked_at_again(folder: Path) -> None:
    """A change right after the look may leave the folder's time as it was: a fresh time is not trusted."""
    put(folder, "a.csv")
    found = scan(FolderLanding(folder), Cursor(), NOW + 1)
    (folder / "b.csv").write_text("b\n1\n")
    os.utime(folder / "b.csv", (LONG_AGO, LONG_AGO))
    os.utime(folder, (NOW, NOW))

    assert names(scan(FolderLanding(folder), found.cursor, NOW + 2)) == ["b.csv"]


def test_the_cursor_forgets_files_that_are_gone(folder: Path) -> None:
    """What is remembered is bounded by what is in the folder."""
    for number in range(20):
        put(folder, f"{number}.csv")
    cursor = scan(FolderLanding(folder), Cursor(), NOW).cursor
    assert len(cursor.known) == 20 * module.WIDTH

    for number in range(19):
        (folder / f"{number}.csv").unlink()
    os.utime(folder, (NOW + 1, NOW + 1))

    assert len(scan(FolderLanding(folder), cursor, NOW + 2).cursor.known) == module.WIDTH


def test_more_files_than_one_batch_holds_come_in_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the rest waits for the next tick."""
    monkeypatch.setattr(module, "MAX_FILES", 3)
    for number in range(5):
        put(folder, f"{number}.csv")

    first = scan(FolderLanding(folder), Cursor(), NOW)
    second = scan(FolderLanding(folder), first.cursor, NOW + 1)

    assert (names(first), first.waiting) == (["0.csv", "1.csv", "2.csv"], 2)
    assert names(second) == ["3.csv", "4.csv"]


def test_keys_sort_by_arrival_and_depend_on_the_files() -> None:
    """A key is the UTC time and a digest: equal input, equal key."""
    files = (LandedFile("a.csv", 1, 2),)

    assert batch_key(files, 0.25) == batch_key(list(files), 0.25)
    assert batch_key(files, 0.25).startswith("19700101T000000250-")
    assert batch_key(files, 9.0) < batch_key(files, 10.0) < batch_key(files, 1e9)
    assert batch_key(files, 1.0) != batch_key((LandedFile("b.csv", 1, 2),), 1.0)


def test_a_plan_is_pending_until_it_is_settled(store: Store, folder: Path) -> None:
    """The sensor that lost its run finds the same batch, with the same files, again."""
    put(folder, "a.csv")

    found = plan(store, "p", FolderLanding(folder), NOW)
    plan(store, "p", FolderLanding(folder), NOW + 5)

    (key,) = pending(store, "p")
    assert planned(store, "p", key).files == found.files
    assert planned(store, "p", key).arrived == NOW

    settle(store, "p", key)
    settle(store, "p", key)
    assert pending(store, "p") == ()
    with pytest.raises(DataError, match="is not planned"):
        planned(store, "p", key)


def test_keys_rise_even_when_the_clock_is_set_back(store: Store, folder: Path) -> None:
    """The order of batches is the order of arrival, whatever the clock says."""
    put(folder, "a.csv")
    plan(store, "p", FolderLanding(folder), NOW)
    put(folder, "b.csv")
    plan(store, "p", FolderLanding(folder), NOW - 3600)

    first, second = pending(store, "p")

    assert planned(store, "p", first).files[0].name == "a.csv"
    assert planned(store, "p", second).files[0].name == "b.csv"


def test_killed_between_plan_and_cursor_nothing_is_planned_twice(store: Store, folder: Path) -> None:
    """When the cursor was not saved, files of a pending batch are recognised by its plan."""
    put(folder, "a.csv")
    plan(store, "p", FolderLanding(folder), NOW)
    store.record_path("p", "landing").unlink()
    put(folder, "b.csv")

    plan(store, "p", FolderLanding(folder), NOW + 5)

    contents = [[file.name for file in planned(store, "p", key).files] for key in pending(store, "p")]
    assert contents == [["a.csv"], ["b.csv"]]


def test_a_file_put_back_after_quarantine_counts_as_new(store: Store, folder: Path, tmp_path: Path) -> None:
    """Moving a file keeps its time; having been forgotten, it is taken again all the same."""
    path = put(folder, "a.csv")
    landing = FolderLanding(folder)
    found = plan(store, "p", landing, NOW)
    (key,) = pending(store, "p")
    landing.withdraw("a.csv", tmp_path / "a.csv")
    forget(store, "p", key, found.files)
    settle(store, "p", key)
    (tmp_path / "a.csv").rename(path)

    assert names(plan(store, "p", landing, NOW + 5)) == ["a.csv"]
    assert names(plan(store, "p", landing, NOW + 10)) == []
    assert not list(store.record_names("p", "landing_forget"))


def test_the_folder_is_made_once_and_missed_later(store: Store, tmp_path: Path) -> None:
    """A new product's folder is created; one that disappears is an error, not silence."""
    landing = FolderLanding(tmp_path / "new" / "landing")
    assert names(plan(store, "p", landing, NOW)) == []

    landing.folder.rmdir()
    with pytest.raises(DataError, match="cannot be read"):
        plan(store, "p", landing, NOW + 5)


def test_withdrawing_to_another_file_system_moves_too(folder: Path, tmp_path: Path) -> None:
    """Where a rename is impossible the file is copied, then deleted; twice is as good as once."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == folder.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    target = other / f"mlauto-test-{os.getpid()}.csv"
    put(folder, "a.csv", content="moved")
    try:
        FolderLanding(folder).withdraw("a.csv", target)
        FolderLanding(folder).withdraw("a.csv", target)

        assert target.read_text() == "moved"
        assert FolderLanding(folder).look("a.csv") is None
    finally:
        target.unlink(missing_ok=True)


def test_what_cannot_be_moved_is_an_error_with_both_names(folder: Path, tmp_path: Path) -> None:
    """A target that is a folder is refused by the system, and told in a sentence."""
    put(folder, "a.csv")
    (tmp_path / "a.csv" / "x").mkdir(parents=True)

    with pytest.raises(DataError, match=r"a\.csv cannot be moved to"):
        FolderLanding(folder).withdraw("a.csv", tmp_path / "a.csv")


def test_a_hundred_thousand_files_take_less_than_five_seconds(store: Store, folder: Path) -> None:
    """A full folder costs well under the sensor's limit, and next to nothing when nothing has changed."""
    for number in range(100_000):
        os.close(os.open(folder / f"{number:06d}.csv", os.O_CREAT | os.O_WRONLY))
    landing = FolderLanding(folder)
    first = scan(landing, Cursor(), time.time() + 10)
    everything = b"".join(file.fingerprint for file in landing.files())
    store.write_record("p", "landing", replace(first.cursor, known=everything, waiting=b"", stamp=""))
    (folder / "new.csv").write_text("a\n1\n")

    began = time.perf_counter()
    found = plan(store, "p", landing, time.time() + 20)
    full = time.perf_counter() - began
    began = time.perf_counter()
    again = plan(store, "p", landing, time.time() + 21)
    quick = time.perf_counter() - began

    assert names(found) == ["new.csv"]
    assert names(again) == []
    assert full < 5
    assert quick < 0.5


def test_the_sensor_stays_light() -> None:
    """Importing the module brings in no data library."""
    code = "import sys, mlauto.training.batches.landing; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not {"pandas", "pyarrow", "numpy", "great_expectations", "sklearn", "dagster"} & set(done.stdout.split())

"""What is removed from the store, what is not, and what happens when others write or remove at the same time."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlauto.store import Store
from mlauto.sweep import GRACE, LEFT_BEHIND, Swept, sweep

NOW = 2_000_000_000.0


def age(path: Path, seconds: float) -> Path:
    """As if it was put so long before `NOW`."""
    os.utime(path, (NOW - seconds,) * 2)
    return path


def tree(store: Store, content: str, seconds: float = 2 * GRACE) -> str:
    """A directory in the store, of that age; its digest."""
    folder = store.scratch("made")
    (folder / "file").write_text(content)
    digest = store.put_tree(folder)
    age(store.tree_path(digest), seconds)
    return digest


def file(store: Store, content: str, seconds: float = 2 * GRACE) -> str:
    """A file in the store, of that age; its digest."""
    folder = store.scratch("made")
    (folder / "file").write_text(content)
    digest = store.put_file(folder / "file")
    (folder / "file").unlink()
    folder.rmdir()
    age(store.object_path(digest), seconds)
    return digest


def test_what_nothing_refers_to_goes(store: Store) -> None:
    """And what is referred to stays; the bytes are those of the files."""
    kept, gone = tree(store, "kept"), tree(store, "gone!")
    kept_file, gone_file = file(store, "kept"), file(store, "gone")

    swept = sweep(store, {kept, kept_file}, now=NOW)

    assert swept == Swept(objects=1, trees=1, leftovers=0, bytes=9)
    assert store.tree_path(kept).is_dir()
    assert store.object_path(kept_file).is_file()
    assert not store.tree_path(gone).exists()
    assert not store.object_path(gone_file).exists()
    assert list((store.home / "tmp").iterdir()) == []
    assert sweep(store, {kept, kept_file}, now=NOW) == Swept()


def test_an_empty_store_is_swept(store: Store) -> None:
    """Nothing was ever put there."""
    assert sweep(store, set(), now=NOW) == Swept()


def test_what_was_put_lately_stays(store: Store) -> None:
    """Its record may come yet. What was there and is found or put again is as new as what is put for the first time."""
    found, again, gone = (tree(store, name) for name in ("found", "again", "gone"))
    again_file = file(store, "again")
    for path in (*map(store.tree_path, (found, again, gone)), store.object_path(again_file)):
        os.utime(path, (1.0, 1.0))
    folder = store.scratch("made")
    (folder / "file").write_text("again")

    assert store.holds_tree(found)
    assert store.put_file(folder / "file") == again_file
    assert store.put_tree(folder) == again
    now = time.time()

    assert sweep(store, set(), now=now).trees == 1
    assert not store.tree_path(gone).exists()
    assert sweep(store, set(), now=now + GRACE - 60) == Swept()
    assert sweep(store, set(), now=now + GRACE + 60) == Swept(objects=1, trees=2, bytes=15)


def test_what_is_gone_is_not_held(store: Store) -> None:
    """Whoever asks for it must make it again."""
    gone = tree(store, "gone")
    sweep(store, set(), now=NOW)

    assert not store.holds_tree(gone)


def test_leftovers_of_killed_processes(store: Store) -> None:
    """A directory that nobody has written into for a day, half a file, and half a removal; not what is in use."""
    old, used, removal = (store.scratch(name) for name in ("old", "used", "gone"))
    for folder in (old, used, removal):
        (folder / "deep").mkdir()
        (folder / "deep" / "data").write_text("1234")
        for path in (folder / "deep" / "data", folder / "deep", folder):
            age(path, LEFT_BEHIND + 1)
    age(used / "deep" / "data", LEFT_BEHIND - 1)
    shard = store.objects / "ab"
    shard.mkdir(parents=True)
    for name, seconds in ((".abc.half", LEFT_BEHIND + 1), (".abc.written", 5.0)):
        (shard / name).write_text("12")
        age(shard / name, seconds)

    swept = sweep(store, set(), now=NOW)

    assert swept == Swept(leftovers=3, bytes=10)
    assert [path.name for path in (store.home / "tmp").iterdir()] == [used.name]
    assert [path.name for path in shard.iterdir()] == [".abc.written"]


def test_other_names_are_not_ours(store: Store) -> None:
    """What is no digest was put there by somebody else."""
    tree(store, "gone")
    for name in ("README", "lost+found"):
        (store.trees / name).mkdir()
        age(store.trees / name, 9 * GRACE)

    assert sweep(store, set(), now=NOW).trees == 1
    assert sorted(path.name for path in store.trees.iterdir()) == ["README", "lost+found"]


class Killed(BaseException):
    """A process that is gone: nothing after it happens, and nobody catches it."""


class FusedStore(Store):
    """Its holder dies when it lets go of the store for the time of that number."""

    fuse = 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        with super().locked():
            yield
        self.fuse -= 1
        if self.fuse == 0:
            raise Killed


def test_a_removal_that_was_killed_is_finished(store: Store) -> None:
    """After the rename it is gone for everybody; the next sweep does the rest."""
    first, second = sorted(tree(store, name) for name in ("one", "two"))
    fused = FusedStore(store.home)
    fused.fuse = 1

    with pytest.raises(Killed):
        sweep(fused, set(), now=NOW)
    assert not store.tree_path(first).exists()
    assert store.tree_path(second).is_dir()

    sweep(store, set(), now=NOW)
    assert not store.tree_path(second).exists()
    assert list((store.home / "tmp").iterdir()) == []


def test_half_a_removal_is_no_ones(store: Store) -> None:
    """However young: what is in there was nobody's when it was put there."""
    folder = store.scratch("gone")
    (folder / "half").write_text("1234")

    assert sweep(store, set(), now=NOW - LEFT_BEHIND) == Swept(leftovers=1, bytes=4)


def test_what_is_put_again_during_a_sweep_is_there_afterwards(store: Store) -> None:
    """Whoever put it, or found it, may write the record: three sweeps at a time never take it from them."""
    digests = [tree(store, f"tree {number}") for number in range(150)]
    taken: list[str] = []
    stop = threading.Event()

    for digest in digests:
        os.utime(store.tree_path(digest), (1.0, 1.0))
    real_now = store.home.stat().st_mtime

    def removing() -> None:
        while not stop.is_set():
            sweep(store, set(), now=real_now)

    threads = [threading.Thread(target=removing) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number, digest in enumerate(digests):
        if number % 2:
            folder = store.scratch("made")
            (folder / "file").write_text(f"tree {number}")
            assert store.put_tree(folder) == digest
            taken.append(digest)
        elif store.holds_tree(digest):
            taken.append(digest)
    stop.set()
    for thread in threads:
        thread.join()

    assert len(taken) >= 75
    assert all(store.tree_path(digest).is_dir() for digest in taken)

"""The store: content addressing, atomic writes, records."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlauto.errors import StoreError
from mlauto.records import BatchWeight, TrainingSet
from mlauto.store import Store, atomic_write, digest_of, file_digest, tree_digest


def make_tree(root: Path, files: dict[str, str]) -> Path:
    """A directory with those files."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_equal_values_have_equal_digests() -> None:
    """Order of keys does not matter; order of parts, types and nesting do."""
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of(1, 2) != digest_of(2, 1)
    assert digest_of(1) != digest_of("1")
    assert digest_of([1, 2]) != digest_of(1, 2)
    assert len(digest_of()) == 64


def test_a_record_has_a_digest_too() -> None:
    """Frozen dataclasses count by their content."""
    weight = BatchWeight(key="a", digest="d", rows=1, weight=0.5)

    assert digest_of(weight) == digest_of(BatchWeight(key="a", digest="d", rows=1, weight=0.5))
    assert digest_of(weight) != digest_of(BatchWeight(key="a", digest="d", rows=2, weight=0.5))


def test_a_files_digest_is_its_sha256(tmp_path: Path) -> None:
    """Any other tool can verify it."""
    path = tmp_path / "f"
    path.write_bytes(b"content")

    assert file_digest(path) == hashlib.sha256(b"content").hexdigest()


def test_a_trees_digest_covers_names_and_contents(tmp_path: Path) -> None:
    """Another content, another name or a further file is another tree; bytecode and empty folders are not."""
    base = tree_digest(make_tree(tmp_path / "base", {"a.py": "1", "d/b.py": "2"}))

    same = make_tree(tmp_path / "same", {"d/b.py": "2", "a.py": "1", "__pycache__/a.pyc": "x", "d/__pycache__/b": "y"})
    (same / "empty").mkdir()
    assert tree_digest(same) == base
    assert tree_digest(make_tree(tmp_path / "content", {"a.py": "1", "d/b.py": "3"})) != base
    assert tree_digest(make_tree(tmp_path / "name", {"a.py": "1", "d/c.py": "2"})) != base
    assert tree_digest(make_tree(tmp_path / "more", {"a.py": "1", "d/b.py": "2", "c": ""})) != base


def test_an_atomic_write_leaves_no_rest(tmp_path: Path) -> None:
    """The file is there with its folders, and nothing else is."""
    path = tmp_path / "deep" / "er" / "file"

    atomic_write(path, b"old")
    atomic_write(path, b"new")

    assert path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    """A target that cannot be replaced raises, and the temporary file is gone."""
    target = tmp_path / "folder"
    target.mkdir()
    (target / "inside").touch()

    with pytest.raises(OSError, match="folder"):
        atomic_write(target, b"content")

    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_reader_never_sees_half_a_write(tmp_path: Path) -> None:
    """While a thread rewrites a file over and over, every read gives one of the whole contents."""
    path = tmp_path / "record"
    contents = [bytes([letter]) * 200_000 for letter in b"ab"]
    atomic_write(path, contents[0])
    stop = threading.Event()

    def rewrite() -> None:
        turn = 0
        while not stop.is_set():
            atomic_write(path, contents[turn % 2])
            turn += 1

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = {path.read_bytes() for _ in range(300)}
    stop.set()
    writer.join()

    assert seen <= set(contents)


def test_a_writer_that_is_killed_leaves_the_old_record_or_the_new_one(tmp_path: Path) -> None:
    """Kill -9 in the middle of writing, five times: the record parses every time."""
    script = (
        "import sys; from pathlib import Path; from mlauto.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for rows in (1, 2):\n"
        "        store.write_record('p', 'r', [rows] * 50_000)\n"
    )
    store = Store(tmp_path)
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            while not store.record_path("p", "r").exists():
                assert writer.poll() is None
            os.kill(writer.pid, signal.SIGKILL)

        found = store.read_record("p", "r", list)

        assert found in ([1] * 50_000, [2] * 50_000)


def test_making_a_store_makes_nothing_on_disk(tmp_path: Path) -> None:
    """Only a write creates folders."""
    store = Store(tmp_path / "home")

    assert store.read_record("bike", "model", TrainingSet) is None
    assert list(store.record_names("bike", "batches")) == []
    assert not (tmp_path / "home").exists()


def test_a_file_is_kept_once(store: Store, tmp_path: Path) -> None:
    """The same bytes from two places are one object, and the first copy is not written again."""
    for name in ("one", "two"):
        (tmp_path / name).write_text("same")

    first = store.put_file(tmp_path / "one")
    written = store.object_path(first).stat().st_ino
    second = store.put_file(tmp_path / "two")

    assert first == second
    assert store.object_path(second).stat().st_ino == written
    assert store.verified_file(first).read_text() == "same"
    assert (tmp_path / "one").exists()


def test_a_missing_artifact_says_what_to_do(store: Store) -> None:
    """The digest is named, and the next step."""
    with pytest.raises(StoreError, match=r"abababababab is missing .* materialize its asset again"):
        store.verified_file("ab" * 32)


def test_a_changed_artifact_is_never_used(store: Store, tmp_path: Path) -> None:
    """One flipped byte is noticed before anything is parsed."""
    (tmp_path / "model").write_bytes(b"weights")
    digest = store.put_file(tmp_path / "model")
    store.object_path(digest).write_bytes(b"weightz")

    with pytest.raises(StoreError, match="was changed on disk: delete"):
        store.verified_file(digest)


def test_a_tree_is_moved_in(store: Store) -> None:
    """The scratch directory becomes the tree: no copy is left behind."""
    scratch = make_tree(store.scratch("build"), {"model": "m", "code/a.py": "1"})

    digest = store.put_tree(scratch)

    assert not scratch.exists()
    assert tree_digest(store.tree_path(digest)) == digest
    assert (store.tree_path(digest) / "code" / "a.py").read_text() == "1"


def test_the_same_tree_twice_is_one(store: Store) -> None:
    """The second is dropped; the first stays as it is."""
    first = store.put_tree(make_tree(store.scratch("build"), {"a": "1"}))
    second = store.put_tree(make_tree(store.scratch("build"), {"a": "1"}))

    assert first == second
    assert list(store.trees.iterdir()) == [store.tree_path(first)]
    assert list((store.home / "tmp").iterdir()) == []


def test_scratch_directories_are_new_and_named(store: Store) -> None:
    """Two builds of one name never share a directory."""
    one, two = store.scratch("build"), store.scratch("build")

    assert one != two
    assert one.name.startswith("build-")
    assert list(one.iterdir()) == []


def test_a_record_comes_back_equal(store: Store) -> None:
    """Typed, below its product, under a name that may have folders."""
    record = TrainingSet(batches=(BatchWeight(key="a", digest="d", rows=3, weight=0.25),), digest="x")

    store.write_record("bike", "models/7", record)

    assert store.read_record("bike", "models/7", TrainingSet) == record
    assert store.read_record("other", "models/7", TrainingSet) is None
    assert store.record_path("bike", "models/7") == store.home / "products/bike/records/models/7.json"


def test_a_record_of_another_shape_is_refused(store: Store) -> None:
    """The file is named, and the field that is wrong."""

    @dataclass(frozen=True)
    class Other:
        digest: int

    store.write_record("bike", "training_set", TrainingSet(batches=(), digest="x"))

    with pytest.raises(StoreError, match=r"training_set\.json is not a valid Other: .*digest"):
        store.read_record("bike", "training_set", Other)


def test_a_truncated_record_is_refused(store: Store) -> None:
    """Half a file is an error, not an absent record."""
    store.write_record("bike", "model", {"a": 1})
    store.record_path("bike", "model").write_bytes(b'{"a"')

    with pytest.raises(StoreError, match=r"model\.json is not a valid dict"):
        store.read_record("bike", "model", dict)


def test_names_of_records(store: Store) -> None:
    """All in the folder, without writes in progress, other files and deeper folders."""
    for name in ("batches/a", "batches/b.2011", "batches/deep/c", "model"):
        store.write_record("bike", name, {})
    folder = store.record_path("bike", "batches/a").parent
    (folder / ".a.json.tmp123").touch()
    (folder / ".hidden.json").touch()
    (folder / "notes.txt").touch()

    assert set(store.record_names("bike", "batches")) == {"a", "b.2011"}


def test_bytes_are_kept_like_a_file(store: Store, tmp_path: Path) -> None:
    """Under the same digest, written once."""
    source = tmp_path / "source"
    source.write_bytes(b"content")
    digest = store.put_bytes(b"content")
    before = store.object_path(digest).stat().st_ino

    assert store.put_file(source) == store.put_bytes(b"content") == digest
    assert store.object_path(digest).stat().st_ino == before
    assert store.verified_file(digest).read_bytes() == b"content"

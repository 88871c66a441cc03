"""The index of keys: one change at a time, all of it or nothing, and made again when it is damaged."""

import sqlite3
from pathlib import Path

import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.labels import keyindex
from mlauto.monitoring.labels.keyindex import open_index
from mlauto.monitoring.log.inorder import Position
from mlauto.monitoring.log.reading import Label

A, B = b"a" * 16, b"b" * 16
ID = "00000000-0000000{}-abcd"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "label_keys.sqlite"


def test_what_was_changed_is_kept(path: Path) -> None:
    """For the next process: positions, rows, labels, and what is due."""
    with open_index(path) as index:
        index.ask(0, [(A, ID.format(1), 0, 1.0), (B, ID.format(1), 1, 1.0), (b"", ID.format(1), 2, 1.0)])
        assert index.label(0, [(A, 5.0, "7")]) == 1
        index.moved("predictions", Position(3, {4: (100, 2)}))
    with open_index(path) as index:
        assert index.position("predictions") == Position(3, {4: (100, 2)})
        assert index.position("keyed") == Position()
        assert index.take_due(10) == ([Label(id=ID.format(1), y=[7, None, None], t=5.0)], False)
    with open_index(path) as index:
        assert index.take_due(10) == ([], False)


def test_a_change_that_fails_changes_nothing(path: Path) -> None:
    """Whatever was done in the block."""
    change = open_index(path)
    change.__enter__().moved("keyed", Position(9))
    assert not change.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with open_index(path) as index:
        assert index.position("keyed") == Position()


def test_the_newest_label_counts(path: Path) -> None:
    """An older one that comes later says nothing new, nor does the same one again."""
    with open_index(path) as index:
        index.ask(0, [(A, ID.format(1), 0, 1.0)])
        assert index.label(0, [(A, 5.0, "7"), (A, 4.0, "6"), (A, 6.0, "7"), (A, 6.0, '"x"')]) == 2
        assert index.take_due(10)[0] == [Label(id=ID.format(1), y=["x"], t=6.0)]


def test_so_many_at_a_time(path: Path) -> None:
    """A request is taken whole; the rest stays due."""
    with open_index(path) as index:
        index.ask(0, [(A, ID.format(n), row, 1.0) for n in range(3) for row in range(2)])
        index.label(0, [(A, 5.0, "7")])
        taken, more = index.take_due(3)
        assert ([line.id for line in taken], more) == ([ID.format(0), ID.format(1)], True)
        taken, more = index.take_due(3)
        assert ([line.id for line in taken], more) == ([ID.format(2)], False)


def test_one_label_joins_a_bounded_number(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest of a key that everybody asks for."""
    monkeypatch.setattr(keyindex, "MOST_PER_KEY", 2)
    with open_index(path) as index:
        index.ask(0, [(A, ID.format(n), 0, 1.0) for n in range(4)])
        index.label(0, [(A, 5.0, "7")])
        assert [line.id for line in index.take_due(10)[0]] == [ID.format(2), ID.format(3)]


def test_old_labels_are_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the segment that they came in."""
    monkeypatch.setattr(keyindex, "MOST_LABELS", 1)
    with open_index(path) as index:
        index.label(0, [(A, 5.0, "7")])
        index.label(1, [(B, 5.0, "8")])
        index.forget()
        index.ask(0, [(A, ID.format(1), 0, 1.0), (B, ID.format(2), 0, 1.0)])
        assert [line.y for line in index.take_due(10)[0]] == [[8]]


@pytest.mark.parametrize("content", [b"no database" * 100, None])
def test_a_file_that_is_none_is_made_anew(path: Path, content: bytes | None) -> None:
    """Damaged, or of another version."""
    path.parent.mkdir()
    if content is None:
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    else:
        path.write_bytes(content)
    with open_index(path) as index:
        assert index.position("keyed") == Position()


def test_damage_within_is_an_error_once(path: Path) -> None:
    """The file goes, and the next call makes another."""
    with open_index(path) as index:
        index.ask(0, [(n.to_bytes(16), ID.format(n), 0, 1.0) for n in range(5000)])
    content = bytearray(path.read_bytes())
    content[8192:-4096] = b"\xff" * (len(content) - 12288)
    path.write_bytes(content)
    with pytest.raises(MeasurementError, match="made again from the log"), open_index(path) as index:
        index.ask(1, [(n.to_bytes(16), ID.format(n), 1, 1.0) for n in range(5000)])
    with open_index(path) as index:
        assert index.take_due(1) == ([], False)

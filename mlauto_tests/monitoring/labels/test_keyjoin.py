"""Labels by key: equal to joining everything at once, in whichever order it came, and however often it was killed."""

import contextlib
import random
from pathlib import Path
from typing import Any

import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.labels import keyindex, keyjoin
from mlauto.monitoring.labels.joining import join_labels
from mlauto.monitoring.labels.keyjoin import KeyJoin, join_keys
from mlauto.monitoring.labels.keys import key_text
from mlauto.monitoring.labels.written import append_labels
from mlauto.monitoring.log.reading import Label, LogReader
from mlauto_tests.monitoring.log.test_query import pack

KEY = ("time", "station")
Rows = dict[str, list[str | None]]  # prediction's id -> the key of each of its rows


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "label_keys.sqlite"


def told(log: Any, y: Any, *key: object, t: float | None = None) -> str:
    """A label that came in a file; its key's text."""
    text = key_text(KEY, key)
    assert text is not None
    append_labels(log.folder, "keyed", [Label(id=text, y=[y], t=log.now if t is None else t)])
    return text


def asked(log: Any, *keys: tuple[Any, Any], **more: Any) -> str:
    """A request with a row for each key; its first column is among the model's, the second one is not."""
    rows, beside = [{"x": 1, "time": time} for time, _ in keys], [{"station": station} for _, station in keys]
    return str(log.predict(*(0.5 for _ in keys), rows=rows, k=beside, **more))


def imported(log: Any) -> dict[str, list[Any]]:
    """The newest label of each prediction."""
    lines = LogReader(log.folder, "imported", Label).since(None, 1 << 30).lines
    return {line.id: line.y for line in lines}


def settle(log: Any, index: Path) -> None:
    """Call until nothing is left to be done."""
    for _ in range(1000):
        if not join_keys(log.folder, index, KEY).behind:
            return
    raise AssertionError("the join never ends")


def brute(requests: Rows, labels: dict[str, Any]) -> dict[str, list[Any]]:
    """What one join of all predictions with the newest labels gives."""
    found = {name: [labels.get(key or "") for key in keys] for name, keys in requests.items()}
    return {name: values for name, values in found.items() if any(value is not None for value in values)}


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("seed", range(60))
def test_it_equals_one_join_of_everything(log: Any, index: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Over random orders of predictions, labels, corrections, compactions, kills, and losses of the index."""
    draw = random.Random(seed)
    monkeypatch.setattr(keyjoin, "READ_BYTES", draw.choice([1, 400, 1 << 20]))
    monkeypatch.setattr(keyjoin, "LABEL_BYTES", draw.choice([1, 200, 1 << 20]))
    monkeypatch.setattr(keyjoin, "EMITTED", draw.choice([1, 3, 1000]))
    requests: Rows = {}
    labels: dict[str, Any] = {}
    packed = 0
    for _ in range(draw.randint(5, 60)):
        log.now += 1
        match draw.choice("ppppllllsjjkkcx"):
            case "p":
                keys = [(draw.randint(1, 3), draw.choice(["A", "B", None])) for _ in range(draw.randint(1, 3))]
                requests[asked(log, *keys)] = [key_text(KEY, key) for key in keys]
            case "l":
                label = draw.randint(0, 2)
                labels[told(log, label, draw.choice([1, 1.0, "1", 2, 3]), draw.choice("AB"))] = label
            case "s":
                log.fail()
                log.segment += 1
                log.raw("predictions", log.segment, b"")
            case "j":
                join_keys(log.folder, index, KEY)
            case "k":
                killed_somewhere(log, index, draw)
            case "c" if packed < log.segment:
                for number in range(packed, log.segment):
                    log.raw("predictions", number, b"")
                pack(log.folder, packed, log.segment - 1)
                packed = log.segment
            case "x":
                draw.choice([lambda: index.unlink(missing_ok=True), lambda: index.write_bytes(b"torn" * 300)])()
    settle(log, index)

    assert imported(log) == brute(requests, labels)
    assert join_keys(log.folder, index, KEY) == KeyJoin(requests=0, labels=0, joined=0, behind=False)


def killed_somewhere(log: Any, index: Path, draw: random.Random) -> None:
    """A call that ends before or after its labels were written, and before the index was."""
    written = draw.random() < 0.5

    def dies(folder: Path, kind: str, labels: list[Label]) -> None:
        if written:
            append_labels(folder, kind, labels)
        raise Killed

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):  # before the first line nothing is written
        patch.setattr(keyjoin, "append_labels", dies)
        join_keys(log.folder, index, KEY)


def test_a_label_belongs_to_every_prediction_of_its_key(log: Any, index: Path, state: Path) -> None:
    """Of every version; metrics see them like labels that came by prediction id."""
    one, two = asked(log, (1, "A"), v="1"), asked(log, (1, "A"), v="2")
    other = asked(log, (2, "A"), v="2")
    told(log, 7, 1, "A")
    settle(log, index)
    joined = join_labels(log.folder, state, version="2", window=10, now=log.now)

    assert imported(log) == {one: [7], two: [7]}
    assert other not in imported(log)
    assert {v: [(entry.id, entry.label) for entry in found] for v, found in joined.windows.items()} == {
        "1": [(one, [7])],
        "2": [(two, [7])],
    }


def test_a_label_may_be_there_before_its_prediction(log: Any, index: Path) -> None:
    """It is as old as the prediction then, for no label is older."""
    told(log, 7, 1, "A")
    join_keys(log.folder, index, KEY)
    log.now += 100
    name = asked(log, (1, "A"))
    settle(log, index)

    lines = LogReader(log.folder, "imported", Label).since(None, 1 << 20).lines
    assert [(line.id, line.y, line.t) for line in lines] == [(name, [7], log.now)]


def test_rows_without_a_label_have_none(log: Any, index: Path) -> None:
    """A request is labelled as far as it can be, and again when more is known."""
    name = asked(log, (1, "A"), (2, "A"), (None, "A"))
    told(log, 7, 2, "A")
    settle(log, index)
    assert imported(log) == {name: [None, 7, None]}

    told(log, 6, 1, "A")
    settle(log, index)
    assert imported(log) == {name: [6, 7, None]}


def test_the_same_label_again_changes_nothing(log: Any, index: Path) -> None:
    """A file that came twice writes no lines; a correction does."""
    name = asked(log, (1, "A"))
    told(log, 7, 1, "A")
    settle(log, index)
    told(log, 7, 1, "A")
    assert join_keys(log.folder, index, KEY).joined == 0

    told(log, 8, 1, "A")
    assert join_keys(log.folder, index, KEY).joined == 1
    assert imported(log) == {name: [8]}


def test_the_oldest_keys_are_forgotten(log: Any, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By segment, so that the index has a bound; the newest segment always stays."""
    monkeypatch.setattr(keyindex, "MOST_ROWS", 3)
    asked(log, (1, "A"))
    log.segment = 1
    kept = [asked(log, (1, "A")) for _ in range(3)]
    settle(log, index)
    told(log, 7, 1, "A")
    settle(log, index)

    assert sorted(imported(log)) == kept


def test_a_failed_request_and_damaged_lines_are_passed_over(log: Any, index: Path) -> None:
    """Nobody answered the one, and nobody can read the others."""
    log.fail()
    log.raw("predictions", 0, b'{"id":"torn\n\xff\n')
    log.raw("keyed", 0, b"{torn\n")
    name = asked(log, (1, "A"))
    told(log, 7, 1, "A")
    settle(log, index)

    assert imported(log) == {name: [7]}


def test_another_process_that_has_the_index_is_an_error(log: Any, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for a damaged one: nothing is thrown away."""
    asked(log, (1, "A"))
    monkeypatch.setattr(keyindex, "WAIT_SECONDS", 0.0)
    with keyindex.open_index(index), pytest.raises(MeasurementError, match="locked"):
        join_keys(log.folder, index, KEY)
    assert join_keys(log.folder, index, KEY).requests == 1


def test_nothing_logged_is_nothing_to_join(tmp_path: Path, index: Path) -> None:
    """And nothing is written."""
    assert join_keys(tmp_path / "none", index, KEY) == KeyJoin(requests=0, labels=0, joined=0, behind=False)
    assert not index.exists()

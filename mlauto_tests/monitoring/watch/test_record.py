"""What is remembered of a watch, written and read back."""

from pathlib import Path

import msgspec

from mlauto.monitoring.watch.record import Subject, Tally, Unpaired, Watch, read_watch
from mlauto_tests.test_proof import PROOF

WATCH = Watch(
    subject=Subject(new="3", old="2", since=1.5, metric="mae"),
    tally=Tally(rows=12, blocks=((10, 2.5),), open_rows=2, open_excess=0.5, old=3.0, squares=9.0, largest=2.0),
    proof=PROOF,
    unmatched=4,
    cursors={"labels": {0: 10, 3: 0}},
    waiting={"00000000-0000002a-9f3c": (7.0, [1, "a", None])},
    unpaired=(Unpaired(positive=True, scores=(0.5, 0.25)), Unpaired(positive=True, scores=(0.1, 0.2))),
    counted=b"\x00\xff" * 8,
)


def test_all_of_it_survives(tmp_path: Path) -> None:
    """Blocks, cursors by segment, labels of any kind, and bytes."""
    path = tmp_path / "watch.json"
    path.write_bytes(msgspec.json.encode(WATCH))

    assert read_watch(path) == WATCH


def test_without_a_record_there_is_no_watch(tmp_path: Path) -> None:
    """Also where another version of mlauto wrote it in another form."""
    path = tmp_path / "watch.json"
    missing = read_watch(path)
    path.write_text('{"subject": 3}')

    assert missing is None
    assert read_watch(path) is None

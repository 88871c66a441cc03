"""The record of the detectors: read, replaced, bounded."""

from dataclasses import replace
from pathlib import Path

import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.quality.budget import Budget
from mlauto.monitoring.quality.detector import Detector
from mlauto.monitoring.quality.memory import Memory, Watched, kept, number, packed, read_memory, write_memory
from mlauto.monitoring.quality.segments import Segment
from mlauto.monitoring.watch.record import Unpaired


def watched(since: float = 0.0) -> Watched:
    return Watched(metric="mae", beyond=Detector(since=since), worse=Detector(since=since), counted=packed([7, 9]))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """After any number of restarts."""
    waiting = Unpaired(positive=True, scores=(0.25, 0.1))
    segment = Segment(detector=Detector(since=2.0), recent=b"1234", unpaired=Unpaired(scores=(0.5,)))
    known = replace(watched(1.0), unpaired=waiting, segments={"x = 1": segment})
    memory = Memory(budget=Budget(left=0.1, at=5.0), versions={"3": known})

    write_memory(tmp_path / "quality.json", memory)

    assert read_memory(tmp_path / "quality.json", 9.0) == memory
    assert memory.versions["3"].numbers == {7, 9}


@pytest.mark.parametrize("content", [None, b"", b'{"budget": 3}'])
def test_nothing_is_remembered_of_another_record(tmp_path: Path, content: bytes | None) -> None:
    """The tests then begin anew, with a full budget."""
    path = tmp_path / "quality.json"
    if content is not None:
        path.write_bytes(content)

    assert read_memory(path, 9.0) == Memory(budget=Budget(at=9.0))


def test_a_file_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """By its name; nothing is tested as if there had been no evidence."""
    folder = tmp_path / "quality.json"
    folder.mkdir()
    with pytest.raises(MeasurementError, match=r"quality\.json cannot be read"):
        read_memory(folder, 0.0)
    (tmp_path / "plain").write_text("")
    with pytest.raises(MeasurementError, match="cannot be written"):
        write_memory(tmp_path / "plain" / "quality.json", Memory(budget=Budget(at=0.0)))


def test_the_versions_that_were_live_last_are_kept() -> None:
    """A version that comes back goes on from where it was."""
    memory = Memory(budget=Budget(at=0.0))
    for name in ("1", "2", "3", "1", "4", "5"):
        memory = kept(memory, Budget(at=1.0), name, watched())

    assert list(memory.versions) == ["3", "1", "4", "5"]
    assert memory.budget.at == 1.0


def test_a_number_is_the_requests_segment_and_place() -> None:
    """The random end of an id is left out."""
    assert number("00000002-0000000a-beef") == (2 << 32) + 10

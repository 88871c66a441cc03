"""Times of the compacted files: from the footers, kept beside them, and never trusted where a line has none."""

from pathlib import Path
from typing import Any

import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.log.compacted import Writer
from mlauto.monitoring.log.spans import Span, keep_spans, spans_of


def packed(folder: Path, first: int, *contents: bytes) -> Path:
    """A file of the segments from `first` on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"predictions-{first:08x}-{first + len(contents) - 1:08x}.parquet"
    with Writer(path) as writer:
        for number, content in enumerate(contents, first):
            writer.add(number, content)
    return path


def line(t: float, **more: Any) -> bytes:
    name = f"00000000-00000001-{int(t):04x}"
    extra = "".join(f',"{key}":{value}' for key, value in more.items())
    return f'{{"id":"{name}","t":{t},"v":"1"{extra}}}\n'.encode()


def test_a_file_spans_the_times_of_its_lines(tmp_path: Path) -> None:
    """Over all of its segments, whatever their order."""
    path = packed(tmp_path, 0, line(7) + line(9), line(3) + line(8))

    assert list(spans_of(tmp_path, "predictions")) == [(path, Span(3.0, 9.0))]


def test_a_line_that_does_not_tell_its_time_may_be_of_any(tmp_path: Path) -> None:
    """A line of a newer version, or a damaged one, keeps its file in every query."""
    packed(tmp_path, 0, line(7) + line(9, field_of_a_newer_version=1))
    span = next(span for _, span in spans_of(tmp_path, "predictions"))

    assert span == Span(None, None)
    assert span.overlaps(100.0, 200.0)


def test_what_overlaps() -> None:
    """The first moment counts, the last does not."""
    span = Span(10.0, 20.0)

    assert [span.overlaps(*ends) for ends in [(20.0, 30.0), (20.1, 30.0), (0.0, 10.0), (0.0, 10.1)]] == [
        True,
        False,
        False,
        True,
    ]


def test_they_are_kept(tmp_path: Path) -> None:
    """What was written down is not read from the footer again; what was not, is."""
    kept = packed(tmp_path, 0, line(7))
    keep_spans(tmp_path, "predictions")
    kept.write_bytes(b"no Parquet any more")
    new = packed(tmp_path, 1, line(9))

    assert list(spans_of(tmp_path, "predictions")) == [(kept, Span(7.0, 7.0)), (new, Span(9.0, 9.0))]


def test_a_lost_or_damaged_cache_costs_only_time(tmp_path: Path) -> None:
    """The footers have it all; files that are gone are forgotten."""
    old = packed(tmp_path, 0, line(7))
    path = packed(tmp_path, 1, line(8))
    keep_spans(tmp_path, "predictions")
    old.unlink()
    cache = tmp_path / ".predictions.spans.json"
    cache.write_bytes(b"{torn")
    keep_spans(tmp_path, "predictions")

    assert cache.read_bytes() == b'{"%b":[8.0,8.0]}' % path.name.encode()


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    """It is not taken for an empty one."""
    packed(tmp_path, 0, line(7)).write_bytes(b"PAR1 no")

    with pytest.raises(MeasurementError, match=r"predictions-00000000-00000000.parquet cannot be read"):
        list(spans_of(tmp_path, "predictions"))

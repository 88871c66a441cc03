"""Labels that mlauto writes itself, beside the gateway's: series of their own, so that each has one writer."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mlauto.monitoring.log.reading import Label, LogReader

__all__ = ["append_labels"]

SEGMENT_BYTES = 4 << 20
SEGMENTS = 64
AT_ONCE = 10_000


def append_labels(folder: Path, kind: str, labels: Sequence[Label]) -> None:
    """Write whole lines, at most a segment at once, to the newest segment of that kind or to a new one.

    Raises `MeasurementError` when the log cannot be listed, `OSError` when the disk fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reader = LogReader(folder, kind, Label)
    for first in range(0, len(labels), AT_ONCE):
        content = b"".join(msgspec.json.encode(label) + b"\n" for label in labels[first : first + AT_ONCE])
        sizes = reader.sizes()
        newest = max(0, reader.span()[1])
        target = newest + (
            sizes.get(newest, SEGMENT_BYTES if newest else 0) >= SEGMENT_BYTES
        )  # compacted ones are full
        handle = os.open(folder / f"{kind}-{target:08x}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "wb", buffering=0) as stream:
            stream.write(content)
        for old in [number for number in sizes if number <= target - SEGMENTS]:
            (folder / f"{kind}-{old:08x}.jsonl").unlink(missing_ok=True)

"""Labels that come by the product's key columns, joined with every prediction of their key, as a query would join them.

What is found is written down as labels by prediction id, so that metrics, watch and evidence know of no keys: a request
has one such line for each time that its labels changed, and the newest one counts. Labels may come before or after
their predictions, twice, and late. Killed at any point, the next call does the rest, and perhaps writes a line again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mlauto.monitoring.labels.keyindex import Asked, KeyIndex, open_index
from mlauto.monitoring.labels.keys import digest_of_key, key_text
from mlauto.monitoring.labels.written import append_labels
from mlauto.monitoring.log.inorder import Part, read_on
from mlauto.monitoring.log.reading import Label

__all__ = ["KeyJoin", "join_keys"]

READ_BYTES = 32 << 20  # of predictions per call: about a second
LABEL_BYTES = 8 << 20
EMITTED = 200_000  # labels per call; what needs more waits for the next
SEGMENTS = 1024  # newest ones that an index made anew is filled from


@dataclass(frozen=True, kw_only=True)
class KeyJoin:
    """What one call did: requests and labels read, requests that got labels; `behind`: the next one has more to do."""

    requests: int
    labels: int
    joined: int
    behind: bool


def join_keys(folder: Path, path: Path, key: Sequence[str]) -> KeyJoin:
    """Join what came since the last call; `folder` is the prediction log, `path` the index's file.

    Guarantees: once nothing is `behind`, each answered row has the newest label of its key, however both came; bounded
    work per call, whatever the log's length. Raises `MeasurementError`, and `OSError` when labels cannot be written.
    """
    if not folder.is_dir():
        return KeyJoin(requests=0, labels=0, joined=0, behind=False)
    rows_of = _Keys(key)
    with open_index(path) as index:
        asked = _part(index, folder, "predictions", READ_BYTES, ("id", "t", "rows", "k", "error"))
        requests = 0
        for segment, lines in asked.lines.items():
            found = list(rows_of.asked(lines))
            index.ask(segment, found)
            requests += len({name for _, name, _, _ in found})
        told = _part(index, folder, "keyed", LABEL_BYTES, ("id", "t", "y"))
        labels = sum(index.label(segment, _labels(lines)) for segment, lines in told.lines.items())
        index.forget()
        emitted, more = index.take_due(EMITTED)
        append_labels(folder, "imported", emitted)  # before the index says that it was done
    return KeyJoin(requests=requests, labels=labels, joined=len(emitted), behind=asked.more or told.more or more)


def _part(index: KeyIndex, folder: Path, kind: str, limit: int, columns: Sequence[str]) -> Part:
    part = read_on(folder, kind, index.position(kind), limit, columns, segments=SEGMENTS)
    index.moved(kind, part.position)
    return part


def _labels(lines: Sequence[bytes]) -> Iterator[tuple[bytes, float, str]]:
    decode = msgspec.json.Decoder(Label).decode
    for line in lines:
        try:
            found = decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):  # torn by a crash
            continue
        yield digest_of_key(found.id), found.t, msgspec.json.encode(found.y[0]).decode()


class _Keys:
    """Finds the keys of logged requests: a key column is among the model's, or was logged beside them."""

    def __init__(self, key: Sequence[str]) -> None:
        self._key = tuple(key)
        fields = [(f"f{place}", Any, None) for place in range(len(key))]
        rename = {f"f{place}": name for place, name in enumerate(key)}
        row = msgspec.defstruct("Row", fields, rename=rename, gc=False)
        rows = list[row]  # type: ignore[valid-type]
        line: list[Any] = [("id", str), ("t", float), ("rows", rows, []), ("k", rows, []), ("error", str | None, None)]
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Line", line, gc=False)).decode

    def asked(self, lines: Sequence[bytes]) -> Iterator[Asked]:
        """The rows of the answered requests, with their keys."""
        for text in lines:
            try:
                line: Any = self._decode(text)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            if line.error is not None:
                continue
            beside = line.k + [None] * (len(line.rows) - len(line.k))
            for place, (row, more) in enumerate(zip(line.rows, beside, strict=False)):
                values = msgspec.structs.astuple(row)
                if more is not None:
                    values = tuple(
                        a if a is not None else b for a, b in zip(values, msgspec.structs.astuple(more), strict=True)
                    )
                key = key_text(self._key, values)
                yield (b"" if key is None else digest_of_key(key), line.id, place, line.t)

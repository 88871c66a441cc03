"""Damaged Arrow streams: `python -m mlauto_tests.serving.arrow_mutations SEED COUNT` asks the parser about so many.

A process of its own, as what it looks for is a crash. Prints how many were taken and how many refused; exit code 1
where one was neither.
"""

import random
import sys
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from mlauto.serving.errors import RequestError
from mlauto.serving.wire.arrow import parse_arrow
from mlauto.serving.wire.signature import Signature

SIGNATURE = Signature(
    {"temp": "number", "hour": "integer", "holiday": "boolean", "sky": "string", "kind": "string", "none": "number"},
    "regression",
)
NUMBERS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)


def batch(rows: int) -> Any:
    """A record batch with gaps, a dictionary and a column of nothing."""
    kinds = pa.array((["neap", "spring", None] * rows)[:rows]).dictionary_encode()
    return pa.record_batch(
        {
            "temp": pa.array(([1.5, None, -2.0] * rows)[:rows]),
            "hour": pa.array(([1, None, 3] * rows)[:rows], pa.int32()),
            "holiday": pa.array(([True, None, False] * rows)[:rows]),
            "sky": pa.array((["clear", None, "räin"] * rows)[:rows]),
            "kind": kinds,
            "none": pa.nulls(rows),
        }
    )


def stream(batches: list[Any], *, file: bool = False, **options: Any) -> bytes:
    """The batches as an IPC stream, or as a file."""
    sink = pa.BufferOutputStream()
    make = pa.ipc.new_file if file else pa.ipc.new_stream
    with make(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for one in batches:
            writer.write_batch(one)
    return bytes(sink.getvalue())


def sound() -> list[bytes]:
    """Streams before anything was done to them; some are refused as they are."""
    one, two = (
        pa.record_batch({"sky": pa.array(texts).dictionary_encode()}) for texts in (["a", "b"], ["a", "b", "c"])
    )
    return [
        stream([batch(3)]),
        stream([batch(5), batch(5)]),
        stream([batch(3)], file=True),
        stream([batch(40)], compression="zstd"),
        stream([batch(40)], compression="lz4"),
        stream([one, two], emit_dictionary_deltas=True),
        stream([pa.record_batch({"temp": pa.array([[1.0]])})]),
        stream([pa.record_batch({"sky": pa.array(["x"], pa.string_view())})]),
        bytes(batch(3).serialize()),
        bytes(batch(3).schema.serialize()),
    ]


def damaged(chance: random.Random, streams: list[bytes]) -> bytes:
    """One of the streams with a few bytes, numbers or pieces of it changed."""
    data = bytearray(chance.choice(streams))
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at, how = chance.randrange(max(1, len(data))), chance.random()
        if how < 0.4:
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif how < 0.8:
            size = chance.choice((2, 4, 8))
            data[at : at + size] = (chance.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, "little")
        elif how < 0.9:
            del data[at : at + chance.randrange(1, 64)]
        else:
            other = chance.choice(streams)
            data[at:] = other[chance.randrange(len(other)) :]
    return bytes(data)


def main(seed: int, count: int) -> int:
    """The exit code."""
    chance, streams, found = random.Random(seed), sound(), Counter[str]()
    for number in range(count):
        body = damaged(chance, streams)
        try:
            parse_arrow(body, SIGNATURE, file=body.startswith(b"ARROW1"))
            found["taken"] += 1
        except RequestError as error:
            found["refused"] += 1
            if not 400 <= error.status < 500 or "\n" in str(error) or len(str(error)) > 1000:
                print(f"number {number}: {error.status} {error}")
                return 1
    print(f"{found['taken']} taken, {found['refused']} refused")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))

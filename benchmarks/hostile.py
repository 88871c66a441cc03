"""Requests that nobody should send: malformed, huge, deep, slow and half-open ones, while good ones go on.

    python benchmarks/hostile.py [--quick] [--json PATH]

10,000 of them (1,000 with --quick) through the gateway to a compiled model: none may be answered with a 5xx, none may
leave a traceback in a log or hang the server, memory may grow by 20 MB at most, and every good request is answered.
Exit code 0 only when every target holds.
"""

import argparse
import asyncio
import json
import math
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
from load import Load
from rich.console import Console
from rich.table import Table
from rollouts import images
from serving_model import NAME, NUMBERS, TEXTS, body, expected, fitted
from serving_servers import family, scratch

from mlauto.runtime.base import Route
from mlauto.runtime.gateway_client import GatewayClient

PATH = f"/v2/models/{NAME}/invocations"
ARROW = "application/vnd.apache.arrow.stream"
AT_ONCE = 32
HALF_OPEN = 200
GOOD_RATE = 100.0
METHODS = ("PUT", "DELETE", "OPTIONS", "TRACE", "BREW")
chance = random.Random(0)


def post(content: bytes, *lines: str, path: str = PATH, length: int | None = None) -> bytes:
    """A request as bytes; `length` claims another size than that of the content."""
    size = len(content) if length is None else length
    head = [f"POST {path} HTTP/1.1", "host: here", f"content-length: {size}", *lines, "connection: close"]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + content


def mangled() -> bytes:
    """A good body with some bytes changed."""
    content = bytearray(body(1))
    for _ in range(chance.randint(1, 8)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    return post(bytes(content))


def deep() -> bytes:
    """Nested lists or objects, closed or not."""
    depth = chance.choice((100, 5_000, 100_000))
    opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
    content = opening * depth + chance.choice((b"", b"1" + closing * depth))
    return post(b'{"instances":' + content + b"}")


def huge() -> bytes:
    """More than is taken: many bytes, many rows, many digits, long names."""
    return chance.choice(
        (
            lambda: post(b"[" + b"1," * (9 << 20)),
            lambda: post(b'{"instances":[' + b"{}," * 300_000 + b"{}]}"),
            lambda: post(b'{"instances":[[' + b"9" * 100_000 + b"]]}"),
            lambda: post(b'{"inputs":{"' + b"x" * 200_000 + b'":[1]}}'),
            lambda: post(b"{}", length=1 << 40),
        )
    )()


def odd() -> bytes:
    """Wrong types, wrong paths, wrong methods, wrong headers, wrong encodings."""
    values = (None, True, "text", 1e308, -0.0, [], {}, [[]], {"a": 1}, "\ud800", 2**70)
    keys = ("dataframe_split", "dataframe_records", "instances", "inputs", "params", "id", "", "nothing")
    content = json.dumps({chance.choice(keys): chance.choice(values) for _ in range(3)}).encode()
    return chance.choice(
        (
            post(content),
            post(
                content, path=PATH.replace("invocations", chance.choice(("infer", "feedback", "x" * 5000, "%00", "..")))
            ),
            post(content, path="/v2/models/" + "y" * chance.choice((1, 60, 3000)) + "/infer"),
            post(content, "content-encoding: gzip"),
            post(content, "content-type: text/html"),
            post(content, "transfer-encoding: chunked"),
            post(content, "expect: 200-maybe"),
            post(content, "x-mlauto-timeout-ms: soon"),
            post(b"\xff\xfe" + content),
            post(b""),
            f"{chance.choice(METHODS)} {PATH} HTTP/1.1\r\nhost: a\r\n\r\n".encode(),
            b"GET " + b"/" * chance.choice((10, 9_000)) + b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * chance.choice((10, 3_000)) + b"connection: close\r\n\r\n",
            chance.randbytes(chance.randrange(1, 400)) + b"\r\n\r\n",
        )
    )


def tensors() -> bytes:
    """Binary tensors whose sizes lie, or whose header does."""
    values = struct.pack("<2d", chance.random(), chance.choice((1.0, math.nan, math.inf)))
    size = chance.choice((16, 16, 16, 0, 8, 15, -1, 1 << 40, 1 << 70, True, "16", None))
    shape = chance.choice(([2], [2, 1], [1, 2], [], [-2], [0], [1 << 40], [2.5], "2"))
    kind = chance.choice(("FP64", "FP64", "FP32", "INT64", "BYTES", "BOOL", "FP8", ""))
    tensor = {"name": chance.choice(("n0", "c0", "no")), "shape": shape, "datatype": kind}
    content = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": size}}] * chance.choice((1, 2))})
    head = chance.choice((len(content), len(content), len(content), 0, -1, len(content) - 1, 1 << 60, "²", ""))
    data = values * chance.choice((1, 1, 2)) + chance.randbytes(chance.choice((0, 0, 3)))
    verb = PATH.replace("invocations", chance.choice(("infer", "infer", "infer", "invocations")))
    return post(content.encode() + data, f"inference-header-content-length: {head}", path=verb)


def arrow() -> bytes:
    """Arrow streams with damaged bytes, compressed, cut short or with columns that there are not."""
    names = [*NUMBERS, chance.choice((*TEXTS, "no"))]
    rows = chance.choice((0, 1, 3, 300))
    columns = {name: pa.nulls(rows, pa.float64()) if name in NUMBERS else ["a"] * rows for name in names}
    batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=chance.choice((None, None, None, "zstd", "lz4")))
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    content = bytearray(sink.getvalue())
    for _ in range(chance.choice((0, 1, 2, 20))):
        at = chance.randrange(len(content))
        content[at : at + 8] = chance.choice((b"\0" * 8, b"\xff" * 7 + b"\x7f", chance.randbytes(1), b""))
    kind = chance.choice(("stream", "stream", "file", "nothing"))
    return post(bytes(content), f"content-type: application/vnd.apache.arrow.{kind}", "accept: " + ARROW)


KINDS: dict[Callable[[], bytes], int] = {mangled: 45, odd: 25, deep: 8, huge: 2, tensors: 10, arrow: 10}


async def attack(port: int, content: bytes, found: Counter[str]) -> None:
    """One hostile request; its status is counted, `closed` where the server only hung up, `hung` where nothing came."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        found[f"refused: {error.strerror}"] += 1
        return
    try:
        async with asyncio.timeout(90):
            writer.write(content)
            try:
                await writer.drain()
                if writer.can_write_eof():
                    writer.write_eof()
            except OSError:
                pass  # cut off in mid-request: what was answered before counts
            line = (await reader.readline()).split()
        found[line[1].decode() if len(line) > 1 else "closed"] += 1
    except TimeoutError:
        found["hung"] += 1
    except OSError:
        found["closed"] += 1
    finally:
        writer.close()


async def trickle(port: int, found: Counter[str], seconds: float) -> None:
    """A request that comes a byte at a time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    until = time.monotonic() + seconds
    try:
        for byte in post(body(1)):
            if time.monotonic() > until or reader.at_eof():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.25)
        found["slow"] += 1
    except OSError:
        found["slow, cut off"] += 1
    finally:
        writer.close()


async def all_attacks(port: int, count: int, seconds: float) -> Counter[str]:
    """All of them, some at a time, with half-open and slow connections beside them."""
    found: Counter[str] = Counter()
    half_open = [socket.create_connection(("127.0.0.1", port)) for _ in range(HALF_OPEN)]
    for number, connection in enumerate(half_open):
        connection.sendall((b"", b"POST ", post(body(1))[:80])[number % 3])
    slow = [asyncio.create_task(trickle(port, found, seconds)) for _ in range(20)]
    room = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with room:
            make = chance.choices(list(KINDS), list(KINDS.values()))[0]
            await attack(port, make(), found)

    for first in range(0, count, 500):
        await asyncio.gather(*(one() for _ in range(min(500, count - first))))
        print(f"{min(first + 500, count)} of {count}", file=sys.stderr)
    await asyncio.gather(*slow)
    for connection in half_open:
        connection.close()
    found["half-open"] = HALF_OPEN
    return found


def memory(pids: tuple[int, ...]) -> float:
    """Resident megabytes of some processes together."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(text.split("VmRSS:")[1].split()[0]) for text in texts) / 1024


def run(count: int, seconds: float) -> tuple[Counter[str], Load, float, int]:
    """Replies by status, the good load, growth of memory in MB, and tracebacks in the logs."""
    with scratch() as (settings, store, runtime):
        (image,) = images(store, runtime, 1)
        runtime.start(NAME, image)
        runtime.switch(NAME, Route("1"))
        pid = GatewayClient(settings.gateway_home).pid()
        if pid is None:
            raise SystemExit("the gateway has no process")
        pids = family(pid)
        load = Load(
            settings.gateway_port, PATH, body(1), expected(fitted("boosted"), 1), rate=GOOD_RATE, connections=4, fresh=1
        )
        # what a large request needs at most is taken once, and kept by the allocator
        asyncio.run(all_attacks(settings.gateway_port, 200, 1.0))
        before = memory(pids)
        with load:
            found = asyncio.run(all_attacks(settings.gateway_port, count, seconds))
        time.sleep(1.0)
        grown = memory(pids) - before
        logs = list(settings.home.rglob("*.log"))
        tracebacks = sum(path.read_text(errors="replace").count("Traceback") for path in logs)
        if family(pid) != pids:
            found["a process died"] += 1
        return found, load, grown, tracebacks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found, load, grown, tracebacks = run(1_000 if options.quick else 10_000, 5.0 if options.quick else 30.0)
    bad = sum(number for status, number in found.items() if status[:1] == "5" or status in {"hung", "a process died"})
    refused = sum(number for status, number in found.items() if status.startswith("refused"))
    rows = [
        ("hostile requests answered 5xx, or hung", float(bad), 0.0),
        ("connections refused", float(refused), 0.0),
        ("good requests failed", float(load.result.failed), 0.0),
        ("tracebacks in logs", float(tracebacks), 0.0),
        ("memory grown, MB", grown, 20.0),
    ]
    table = Table("figure", "measured", "target", "holds")
    for name, value, target in rows:
        table.add_row(name, f"{value:.1f}", f"<= {target:g}", "yes" if value <= target else "NO")
    console = Console(highlight=False)
    console.print(table)
    console.print("replies:", dict(found.most_common()))
    good = load.result
    console.print(f"{good.requests} good requests, p99 {good.p99():.0f} ms;", dict(good.problems) or "none failed")
    if options.json:
        options.json.write_text(json.dumps({name: {"measured": v, "target": t} for name, v, t in rows}, indent=2))
    return 0 if all(value <= target for _, value, target in rows) and good.requests else 1


if __name__ == "__main__":
    raise SystemExit(main())

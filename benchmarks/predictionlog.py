"""What the prediction log costs, and what it keeps.

    python benchmarks/predictionlog.py [--quick] [--json PATH]

Microseconds for a line of one row, by itself and as CPU time of a server under load (16 connections, modes in turn);
the share of that server's throughput that is left with the log, synced in the background or before each reply (median
of the ratios within a round); acknowledged predictions that `kill -9` under load lost; seconds and size of 64 MB
compacted, and finding one prediction in it. The server is the harshest judge there is: it decodes, answers a constant,
and has no model that would cost anything. Exit code 0 only when every target holds.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mlauto.monitoring.compaction import compact
from mlauto.monitoring.predictionlog import find_prediction
from mlauto.serving.durability import Syncer
from mlauto.serving.http import body_of, reply, server
from mlauto.serving.predictionlog import PredictionLog
from mlauto.serving.sockets import listen_tcp

CONNECTIONS = 16
ROW = {f"number_{n}": 0.1234567 * n for n in range(12)} | {f"category_{n}": "clear" for n in range(4)}
BODY = json.dumps({"dataframe_records": [ROW]}).encode()
REQUEST = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
REQUEST += b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
MODES = ("off", "background", "shared")
ID = re.compile(rb'"id":"([0-9a-f-]{22})"')


async def serve(folder: Path, mode: str) -> None:
    """Answer one product's requests on a free port, which is the first line of the output."""
    import msgspec

    log = PredictionLog(folder, Syncer(mode)) if mode != "off" else None
    decoder = msgspec.json.Decoder(dict[str, list[dict[str, Any]]])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        began = time.monotonic()
        rows = decoder.decode(await body_of(scope, receive))["dataframe_records"]
        encoded = msgspec.json.encode(rows)  # what a model would be sent
        name, odds = "off", [[0.25, 0.75]]
        if log is not None:
            name, seconds = log.new_id(), time.monotonic() - began
            log.answered(name, version="7", seconds=seconds, rows=encoded, predictions=[1], probabilities=odds)
            if mode == "shared":
                await log.durable()
        await reply(send, {"predictions": [1], "id": name})

    listening = listen_tcp("127.0.0.1", 0)
    listening.listen()
    print(listening.getsockname()[1], flush=True)
    await server(app).serve(sockets=[listening])


class Client(asyncio.Protocol):
    """Sends the next request as soon as the last one was answered; keeps the ids of all answers."""

    def __init__(self, ids: list[bytes], gone: asyncio.Future[None]) -> None:
        self.ids, self.gone, self.read = ids, gone, b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self.read += data
        _, found, body = self.read.partition(b"\r\n\r\n")
        if found and body.endswith(b"}"):
            self.ids.append(body)
            self.read = b""
            self.transport.write(REQUEST)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)


class Server:
    """A server process of a mode."""

    def __init__(self, folder: Path, mode: str) -> None:
        command = [sys.executable, __file__, "--serve", str(folder), mode]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def cpu(self) -> float:
        """Seconds of CPU that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def load(self, seconds: float, kill: bool = False) -> tuple[float, list[bytes]]:
        """Requests a second, and the answers; with `kill` the process is killed at the end, under load."""
        loop = asyncio.get_running_loop()
        answers: list[bytes] = []
        gone = [loop.create_future() for _ in range(CONNECTIONS)]
        made = [
            await loop.create_connection(lambda g=g: Client(answers, g), "127.0.0.1", self.port)  # type: ignore[misc]
            for g in gone
        ]
        await asyncio.sleep(0.3)
        first, began = len(answers), time.perf_counter()
        await asyncio.sleep(seconds)
        rate = (len(answers) - first) / (time.perf_counter() - began)
        if kill:
            self.process.send_signal(signal.SIGKILL)
            await asyncio.wait_for(asyncio.gather(*gone), 10)
        for transport, _ in made:
            transport.close()
        return rate, answers

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def microseconds(folder: Path, times: int) -> float:
    """The least time of a line over rounds of 5,000."""
    log, rows = PredictionLog(folder, Syncer()), json.dumps([ROW]).encode()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        for _ in range(5000):
            name = log.new_id()
            log.answered(name, version="7", seconds=0.001, rows=rows, predictions=[1], probabilities=[[0.25, 0.75]])
        took.append((time.perf_counter() - began) / 5000 * 1e6)
    return min(took)


def throughput(root: Path, rounds: int, seconds: float) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Requests a second, and CPU microseconds of the server for each, by mode, one of each in every round."""
    import uvloop

    servers = {mode: Server(root / mode, mode) for mode in MODES}
    rates: dict[str, list[float]] = {mode: [] for mode in MODES}
    costs: dict[str, list[float]] = {mode: [] for mode in MODES}
    try:
        for number in range(rounds):
            for mode in MODES if number % 2 else MODES[::-1]:
                before = servers[mode].cpu()
                rate, answers = uvloop.run(servers[mode].load(seconds))
                costs[mode].append((servers[mode].cpu() - before) / len(answers) * 1e6)
                rates[mode].append(rate)
    finally:
        for found in servers.values():
            found.stop()
    return rates, costs


def lost(root: Path, mode: str, times: int) -> tuple[int, int]:
    """Acknowledged predictions, and how many of them are not in the log after `kill -9`, over so many kills."""
    import uvloop

    acknowledged = missing = 0
    for number in range(times):
        folder = root / f"killed-{mode}-{number}"
        _, answers = uvloop.run(Server(folder, mode).load(0.5, kill=True))
        ids = {match[1] for answer in answers if (match := ID.search(answer))}
        logged = set(ID.findall(b"".join(path.read_bytes() for path in folder.glob("predictions-*.jsonl"))))
        acknowledged, missing = acknowledged + len(ids), missing + len(ids - logged)
    return acknowledged, missing


def compaction(folder: Path) -> dict[str, float]:
    """24 full segments compacted in a process of its own: seconds, share of the size, MB of memory, look-up in ms."""
    log, early, draw = PredictionLog(folder), "", random.Random(7)
    while log.predictions.number < 24:
        name = log.new_id()
        early = early or (name if log.predictions.number == 3 else "")
        row = {key: round(draw.gauss(0, 1), 4) if isinstance(value, float) else value for key, value in ROW.items()}
        rows, odds = json.dumps([row]).encode(), [[0.25, draw.random()]]
        log.answered(name, version="7", seconds=draw.random(), rows=rows, predictions=[1], probabilities=odds)
    log.close()
    command = [sys.executable, __file__, "--compact", str(folder)]
    done = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    took = []
    for _ in range(5):
        began = time.perf_counter()
        assert find_prediction(folder, early) is not None
        took.append((time.perf_counter() - began) * 1000)
    return {**done, "look_up_ms": statistics.median(took)}


def compact_here(folder: Path) -> dict[str, float]:
    """Compact in this process, and say what it took beyond the libraries."""
    import resource

    import pyarrow.parquet  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    done = compact(folder)
    seconds = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    share = done.bytes_after / done.bytes_before
    return {"segments": done.segments, "seconds": seconds, "share": share, "grown_mb": grown}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--compact", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        import uvloop

        uvloop.run(serve(Path(options.serve[0]), options.serve[1]))
        return 0
    if options.compact:
        print(json.dumps(compact_here(options.compact)))
        return 0
    with tempfile.TemporaryDirectory() as root:
        return report(Path(root), options.quick, options.json)


def report(root: Path, quick: bool, path: Path | None) -> int:
    """Measure, print, and return the exit code."""
    line = microseconds(root / "line", 3 if quick else 20)
    rates, costs = throughput(root, 3 if quick else 9, 1.0 if quick else 3.0)
    shares = {mode: statistics.median(a / b for a, b in zip(rates[mode], rates["off"], strict=True)) for mode in MODES}
    added = statistics.median(a - b for a, b in zip(costs["background"], costs["off"], strict=True))
    kills = {mode: lost(root, mode, 1 if quick else 10) for mode in ("background", "shared")}
    acknowledged, missing = (sum(found) for found in zip(*kills.values(), strict=True))
    packed = compaction(root / "packed")
    figures = [
        ("microseconds per line of one row", line, 10.0, "<="),
        ("the same in a server, CPU", added, 10.0, "<="),
        ("bare server: throughput with the log", shares["background"], 0.75, ">="),
        ("bare server: disk before the reply", shares["shared"], 0.35, ">="),
        (f"lost of {acknowledged} acknowledged, kill -9", float(missing), 0.0, "<="),
        ("64 MB compacted, seconds", packed["seconds"], 10.0, "<="),
        ("64 MB compacted, share of the size", packed["share"], 0.5, "<="),
        ("64 MB compacted, MB of memory", packed["grown_mb"], 150.0, "<="),
        ("a prediction found in Parquet, ms", packed["look_up_ms"], 50.0, "<="),
    ]
    holds = {name: measured <= target if how == "<=" else measured >= target for name, measured, target, how in figures}
    table = Table("figure", "measured", "target", "holds")
    for name, measured, target, how in figures:
        table.add_row(name, f"{measured:.3g}", f"{how} {target:g}", "yes" if holds[name] else "NO")
    console = Console(highlight=False)
    console.print(table)
    console.print("requests a second:", {mode: round(statistics.median(found)) for mode, found in rates.items()})
    if path:
        found = {name: {"measured": m, "target": t, "holds": holds[name]} for name, m, t, _ in figures}
        path.write_text(json.dumps({"figures": found, "rates": rates, "shares": shares}, indent=2))
    return 0 if all(holds.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

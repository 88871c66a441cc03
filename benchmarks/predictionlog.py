"""What the prediction log costs, and what it keeps.

    python benchmarks/predictionlog.py [--quick] [--json PATH]

Microseconds for a line of one row, by itself and as CPU time of the gateway; the share of the gateway's throughput that
is left with the log, synced in the background or before each reply (boosted trees, compiled, in their own process; 1
row, 16 connections; modes in turn, median of the ratios within a round); acknowledged predictions that `kill -9` of the
gateway under load lost; seconds and size of 64 MB compacted, and finding one prediction in it; then the questions of
`predictionlog_volume.py` to 100 million predictions, for which 8 GB of disk are used. Exit code 0 only when every
target holds.
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

import httpx
import predictionlog_volume
from rich.console import Console
from rich.table import Table

from mlauto.monitoring.log.compaction import compact
from mlauto.monitoring.log.reading import find_prediction
from mlauto.serving.bundle import write_manifest
from mlauto.serving.gateway import run
from mlauto.serving.log.durability import Syncer
from mlauto.serving.log.journal import Journal
from mlauto.serving.log.predictionlog import PredictionLog
from mlauto.serving.plan.format import write
from mlauto.serving.web.sockets import listen_tcp
from mlauto.training.compile.pipeline import compile_pipeline

CONNECTIONS = 16
NUMBERS, CATEGORIES = [f"number_{n}" for n in range(12)], [f"category_{n}" for n in range(4)]
ROW = {name: 0.1234567 * n for n, name in enumerate(NUMBERS)} | dict.fromkeys(CATEGORIES, "clear")
BODY = json.dumps({"dataframe_records": [ROW]}).encode()
REQUEST = b"POST /v2/models/bench/invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
REQUEST += b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
Series = dict[str, list[float]]
MODES = ("off", "background", "shared")
ID = re.compile(rb'"id":"([0-9a-f-]{22})"')
GIVEN = re.compile(rb"x-prediction-id: ([0-9a-f-]{22})")


def compiled_bundle(root: Path) -> Path:
    """Boosted trees on 12 numbers and 4 categories, as a bundle without scikit-learn."""
    import numpy as np
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    draw = np.random.default_rng(7)
    frame = pd.DataFrame({name: draw.normal(size=2000) for name in NUMBERS})
    for name in CATEGORIES:
        frame[name] = pd.Series(draw.choice(["clear", "rain", "snow"], 2000), dtype="str")
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("numbers", StandardScaler(), NUMBERS), ("categories", encoder, CATEGORIES)])
    model = make_pipeline(columns, HistGradientBoostingClassifier()).fit(frame, frame["number_0"] > 0)
    kinds = dict.fromkeys(NUMBERS, "number") | dict.fromkeys(CATEGORIES, "string")
    folder = root / "bundle"
    folder.mkdir()
    write(folder, *compile_pipeline(model, kinds, (False, True)))
    signature = {"columns": kinds, "task": "classification", "classes": [False, True]}
    (folder / "signature.json").write_text(json.dumps(signature))
    (folder / "golden.json").write_text(json.dumps({"rows": [ROW], "predictions": [], "probabilities": None}))
    write_manifest(folder, name="bench", version="1", commit="c" * 40, key="k" * 64, flavour="compiled")
    return folder


class Off(PredictionLog):
    """No log at all: what it costs is measured against this."""

    def new_id(self) -> str:
        return "off"

    def answered(self, prediction_id: str, **_: Any) -> None: ...


async def serve(home: Path, mode: str) -> None:
    """A gateway on a free port, which is the first line of the output."""
    if mode == "off":
        off = Off(home)
        Journal.log = lambda _self, _product: off  # type: ignore[method-assign]
    else:
        os.environ["MLAUTO_LOG_SYNC"] = mode
    listening = listen_tcp("127.0.0.1", 0)
    listening.listen()
    print(listening.getsockname()[1], flush=True)
    await run(home, listening)


class Client(asyncio.Protocol):
    """Sends the next request as soon as the last one was answered; keeps the ids of all answers."""

    def __init__(self, ids: list[bytes], gone: asyncio.Future[None]) -> None:
        self.ids, self.gone, self.read = ids, gone, b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self.read += data
        if self.read.endswith(b"}"):
            self.ids.append(self.read)
            self.read = b""
            self.transport.write(REQUEST)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)


class Server:
    """A gateway process of a mode, with the model live."""

    def __init__(self, home: Path, mode: str, bundle: Path) -> None:
        command = [sys.executable, __file__, "--serve", str(home), mode]
        self.home = home
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.order("/start", product="bench", version="1", bundle=str(bundle))
        self.order("/switch", product="bench", champion="1")

    def order(self, path: str, **content: str) -> None:
        """POST to the control socket, which may not be there yet."""
        transport = httpx.HTTPTransport(uds=str(self.home / "gateway" / "control.sock"), retries=3)
        with httpx.Client(transport=transport, base_url="http://gateway", timeout=60) as client:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                try:
                    client.post(path, json=content).raise_for_status()
                except httpx.TransportError:
                    time.sleep(0.05)
                else:
                    return
        raise SystemExit(f"the gateway did not follow {path}")

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


def throughput(
    root: Path, bundle: Path, rounds: int, seconds: float
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Requests a second, and CPU microseconds of the gateway for each, by mode, one of each in every round."""
    import uvloop

    servers = {mode: Server(root / mode, mode, bundle) for mode in MODES}
    rates: Series = {mode: [] for mode in MODES}
    costs: Series = {mode: [] for mode in MODES}
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


def lost(root: Path, bundle: Path, mode: str, times: int) -> tuple[int, int]:
    """Acknowledged predictions, and how many of them are not in the log after `kill -9`, over so many kills."""
    import uvloop

    acknowledged = missing = 0
    for number in range(times):
        home = root / f"killed-{mode}-{number}"
        killed = Server(home, mode, bundle)
        _, answers = uvloop.run(killed.load(0.5, kill=True))
        killed.stop()
        ids = {match[1] for answer in answers if (match := GIVEN.search(answer))}
        folder = home / "products" / "bench" / "predictions"
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
    import pyarrow.parquet  # noqa: F401

    before = _peak()
    began = time.perf_counter()
    done = compact(folder)
    seconds = time.perf_counter() - began
    share = done.bytes_after / done.bytes_before
    return {"segments": done.segments, "seconds": seconds, "share": share, "grown_mb": _peak() - before}


def _peak() -> float:
    """The most memory this process has used, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


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
    bundle = compiled_bundle(root)
    rates, costs = throughput(root, bundle, 3 if quick else 9, 1.0 if quick else 3.0)
    shares = {mode: statistics.median(a / b for a, b in zip(rates[mode], rates["off"], strict=True)) for mode in MODES}
    added = statistics.median(a - b for a, b in zip(costs["background"], costs["off"], strict=True))
    kills = {mode: lost(root, bundle, mode, 1 if quick else 10) for mode in ("background", "shared")}
    acknowledged, missing = (sum(found) for found in zip(*kills.values(), strict=True))
    packed = compaction(root / "packed")
    figures = [
        ("microseconds per line of one row", line, 10.0, "<="),
        ("the same in the gateway, CPU", added, 10.0, "<="),
        ("throughput with the log / without", shares["background"], 0.9, ">="),
        ("throughput, disk before reply / without", shares["shared"], 0.35, ">="),
        (f"lost of {acknowledged} acknowledged, kill -9", float(missing), 0.0, "<="),
        ("64 MB compacted, seconds", packed["seconds"], 10.0, "<="),
        ("64 MB compacted, share of the size", packed["share"], 0.5, "<="),
        ("64 MB compacted, MB of memory", packed["grown_mb"], 150.0, "<="),
        ("a prediction found in Parquet, ms", packed["look_up_ms"], 50.0, "<="),
    ]
    figures += [(name, measured, target, how) for name, measured, how, target in predictionlog_volume.figures(quick)]
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

"""Load by `wrk`, and what it measured."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
TIMEOUT_SECONDS = 10  # wrk's own 2 s call a request failed that only queued: 64 connections, 40 answers a second
LUA = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = io.open("{body}", "rb"):read("*a")
"""


class UnavailableError(SystemExit):
    """A server that cannot be installed, started or asked here; for a peer the reason goes into the table."""


@dataclass(frozen=True)
class Measured:
    """Requests per second, latencies in milliseconds, and requests that failed."""

    rate: float
    p50: float
    p99: float
    failed: int


def require_wrk() -> str:
    """The program's path. Raises `SystemExit` with what to do when it is missing."""
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    return found


def load(url: str, body: bytes, *, connections: int, seconds: float) -> Measured:
    """Closed-loop load from one thread over so many connections. Raises `UnavailableError` when nobody listens."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "body.json"
        path.write_bytes(body)
        script = Path(folder) / "post.lua"
        script.write_text(LUA.format(body=path))
        limits = [f"-c{connections}", f"-d{seconds:g}s", "--timeout", f"{TIMEOUT_SECONDS}s"]
        command = [require_wrk(), "-t1", *limits, "--latency", "-s", str(script), url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(f"{url} cannot be asked: {(done.stderr + done.stdout).strip()[:200]}")
    return parsed(done.stdout)


def parsed(text: str) -> Measured:
    """What `wrk --latency` printed."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if rate is None:
        raise SystemExit(f"wrk said something else: {text[:500]}")
    shares = {
        share: float(value) * UNITS[unit] for share, value, unit in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s|m)", text)
    }
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = (int(bad[1]) if bad else 0) + (sum(map(int, errors.groups())) if errors else 0)
    return Measured(float(rate[1]), shares["50"], shares["99"], failed)

"""Kill -9 under load: the active model process, again and again, while its predecessor stands warm behind it.

    python benchmarks/kills.py [--quick] [--json PATH]

20 kills (3 with --quick) at 1,000 requests a second, no retries by clients: no request may fail, no gap between two
answers may last 250 ms, and every acknowledged prediction must be in the log. Then kill -9 of the gateway itself, 5
times: it must answer again within 1 s. Exit code 0 only when every target holds.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from load import Load, Result
from rich.console import Console
from rich.table import Table
from rollouts import RATE, images
from serving_model import NAME, body, expected, fitted
from serving_servers import ask, scratch

from mlauto.runtime.base import Route
from mlauto.runtime.gateway_client import GatewayClient
from mlauto.settings import Settings


def kill_champion(client: GatewayClient) -> None:
    """Kill the process of version 2, and wait until another one is ready."""
    known = client.status()["products"][NAME]["versions"]["2"]
    os.kill(known["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 60  # what dies again and again is started after growing pauses, up to 30 s
    while time.monotonic() < deadline:
        now = client.status()["products"][NAME]["versions"]["2"]
        if now["state"] == "ready" and now["pid"] != known["pid"]:
            return
        time.sleep(0.02)
    raise SystemExit("the killed version did not come back in time")


def kill_gateway(settings: Settings, wanted: object) -> float:
    """Kill the gateway's process; seconds until a new connection gets the right answer."""
    url = f"{settings.gateway_url}/v2/models/{NAME}/invocations"
    os.kill(GatewayClient(settings.gateway_home).status()["pid"], signal.SIGKILL)
    began = time.monotonic()
    while time.monotonic() - began < 30:
        answer = ask(url, body(1))
        if answer is not None and answer["predictions"] == wanted:
            return time.monotonic() - began
        time.sleep(0.01)
    raise SystemExit("the killed gateway did not come back in time")


def logged(settings: Settings) -> set[str]:
    """The ids of all predictions in the log."""
    folder = settings.product_home(NAME) / "predictions"
    lines = (line for path in folder.glob("predictions-*.jsonl") for line in path.read_bytes().splitlines())
    return {json.loads(line)["id"] for line in lines}


def run(kills: int) -> tuple[Result, int, list[float]]:
    """The load's result, acknowledged predictions that are not in the log, and the gateway's seconds to come back."""
    with scratch() as (settings, store, runtime):
        for image in images(store, runtime, 2):
            runtime.start(NAME, image)
        runtime.switch(NAME, Route("2", fallback="1"))
        wanted = expected(fitted("boosted"), 1)
        with Load(settings.gateway_port, f"/v2/models/{NAME}/invocations", body(1), wanted, rate=RATE) as load:
            time.sleep(1.0)
            for number in range(kills):
                kill_champion(GatewayClient(settings.gateway_home))
                print(f"{number + 1} of {kills} kills, {load.result.failed} failed", file=sys.stderr)
                time.sleep(0.5)
        # in-flight requests of a killed gateway are lost: only what was acknowledged counts here
        acknowledged, back = set(load.result.ids), []
        for _ in range(max(1, kills // 4)):
            with Load(settings.gateway_port, f"/v2/models/{NAME}/invocations", body(1), wanted, rate=RATE) as beside:
                time.sleep(1.0)
                back.append(kill_gateway(settings, wanted))
                time.sleep(1.0)
            acknowledged |= set(beside.result.ids)
        return load.result, len(acknowledged - logged(settings)), back


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    kills = 3 if options.quick else 20
    result, missing, back = run(kills)
    rows = [
        ("failed requests", float(result.failed), 0.0),
        ("longest gap between two answers, ms", result.longest_gap * 1000, 250.0),
        ("acknowledged predictions missing in the log", float(missing), 0.0),
        ("killed gateway: longest time until it answers, ms", max(back) * 1000, 1000.0),
    ]
    table = Table("figure", "measured", "target", "holds")
    for name, value, target in rows:
        table.add_row(name, f"{value:.0f}", f"<= {target:g}", "yes" if value <= target else "NO")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{kills} kills, {result.requests:,} requests at {result.rate:.0f}/s, by version {dict(result.versions)}"
    )
    console.print(dict(result.problems) or "no problem of any kind")
    if options.json:
        options.json.write_text(json.dumps({name: {"measured": v, "target": t} for name, v, t in rows}, indent=2))
    return 0 if all(value <= target for _, value, target in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())

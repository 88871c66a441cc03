"""Products, the names of every metric as they are really rendered, and Prometheus' own judgement."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlauto.export.rules import LIMITS, rules_yml
from mlauto.product import ModelProduct
from mlauto.serving.measured import measured
from mlauto.serving.metrics import FAMILIES, Metrics
from mlauto.store import Store
from mlauto_tests.conftest import tool
from mlauto_tests.monitoring.whole import NOW, whole_rows

METRIC = re.compile(r"(?<![\w:])mlauto[_:][\w:]+")
SELECTOR = re.compile(r"(mlauto[_:][\w:]+)\{([^}]*)\}")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
PARTS = {"histogram": ("_bucket", "_sum", "_count")}


def made(name: str = "demand", **monitoring: Any) -> ModelProduct:
    """A product with such a section."""
    code = {"repository": "r", "estimator": "a.b:c"}
    data = {"landing": "l", "target": "y", "task": "regression"}
    return ModelProduct.model_validate({"name": name, "code": code, "data": data, "monitoring": monitoring})


def metrics_text(home: Path, *, traffic: int = 1, now: float = NOW) -> str:
    """What /metrics says of a product that has everything, by the gateway's own code."""
    metrics = Metrics()
    for _ in range(traffic):
        metrics.answered("demand", "7", seconds=0.01, rows=3)
        metrics.refused("demand", "7", 503)
        for series, key in (
            (metrics.retries, ("demand", "7")),
            (metrics.shadows, ("demand", "7", "answered")),
            (metrics.labels, ("demand",)),
            (metrics.log_failures, ("demand",)),
        ):
            series[key] += 1
    gauges = {name: dict.fromkeys([("demand", "7")], 1.0) for name in FAMILIES if name.startswith("mlauto_version")}
    gauges |= {"mlauto_gateway_pid": {(): 1.0}, "mlauto_gateway_workers": {(): 1.0}}
    Store(home).write_record("demand", "gauges", whole_rows(now))
    return metrics.render(gauges, measured(home / "products", ["demand"])).decode()


def rendered(home: Path) -> dict[str, set[str]]:
    """Every series' name -> its labels, from that text; and those that are recorded."""
    found: dict[str, set[str]] = {}
    for line in metrics_text(home).splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")[0].partition("{")
            found[name] = {word for word, _ in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', line.partition("{")[2])}
            assert rest or "{" not in line
    recorded = re.findall(r"record: (\S+)", rules_yml([made()]))
    labels = {"mlauto:error_limit": {"product", "burn"}, "mlauto:slow_limit": {"product", "burn"}}
    return found | {name: labels.get(name, {"product", "version"}) for name in (*recorded, *LIMITS)}


def strangers(expressions: list[str], known: dict[str, set[str]]) -> list[str]:
    """Names and labels in the expressions that nobody exports."""
    found = [name for one in expressions for name in METRIC.findall(one) if name not in known]
    for one in expressions:
        for name, inside in SELECTOR.findall(one):
            found += [f"{name}.{label}" for label in LABEL.findall(inside) if label not in known.get(name, set())]
    return found


def ran(program: str, *words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """A command line tool's own judgement."""
    command = [str(tool(program)), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def known(tmp_path: Path) -> dict[str, set[str]]:
    """The names of all series, each with its labels."""
    return rendered(tmp_path / "home")

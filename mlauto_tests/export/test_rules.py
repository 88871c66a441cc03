"""The products' limits as series, and the figures in common."""

import re
from pathlib import Path

import pytest
import yaml

from mlauto.export.rules import BURNS, LIMITS, WINDOWS, limits_of, rules_yml
from mlauto.serving.metrics import BUCKETS
from mlauto_tests.export.conftest import made, ran, strangers


def limits(**monitoring: object) -> dict[tuple[str, str], float]:
    """Name and burn -> value."""
    found = {}
    for rule in limits_of(made(**monitoring)):
        assert rule["labels"]["product"] == "demand"
        found[rule["record"], rule["labels"].get("burn", "")] = float(rule["expr"].removeprefix("vector(")[:-1])
    return found


def test_the_yaml_s_limits_are_recorded() -> None:
    """In seconds and shares; burn rates are multiples of what is allowed."""
    found = limits(slo={"p99_ms": 50, "error_rate": 0.001}, every="10m")

    assert found["mlauto:slo_p99_seconds", ""] == 0.05
    assert found["mlauto:slo_error_rate", ""] == 0.001
    assert found["mlauto:stale_after_seconds", ""] == 6000
    assert [found["mlauto:error_limit", burn] for burn in BURNS] == [0.0144, 0.006, 0.001]
    assert [found["mlauto:slow_limit", burn] for burn in BURNS] == [0.144, 0.06, 0.01]
    assert {name for name, _ in found} == set(LIMITS)


def test_a_frequent_look_may_miss_some_minutes() -> None:
    """A restart of the daemon is no alarm."""
    assert limits(every="2s")["mlauto:stale_after_seconds", ""] == 300


@pytest.mark.parametrize(("rate", "fast"), [(0.0, 0.0), (0.05, 0.72), (0.1, 0.9), (0.95, 0.95), (1.0, 1.0)])
def test_a_generous_objective_still_has_a_limit_that_can_be_reached(rate: float, fast: float) -> None:
    """14.4 times a tenth would be more than all requests: no outage would be told."""
    assert limits(slo={"error_rate": rate})["mlauto:error_limit", "fast"] == pytest.approx(fast)


@pytest.mark.parametrize(("p99", "bound"), [(250, "0.25"), (30, "0.05"), (1000, "1.0"), (60_000, "10.0")])
def test_slow_is_what_the_nearest_bucket_above_says(p99: float, bound: str) -> None:
    """By a bound that the gateway's histogram has, spelt as it spells it."""
    text = rules_yml([made(slo={"p99_ms": p99})])

    assert set(re.findall(r'le="([^"]+)"', text)) == {bound}
    assert bound in map(str, BUCKETS)


def test_rules_do_not_depend_on_the_order_of_products() -> None:
    """Equal products, equal text; every window of every burn rate is recorded."""
    one, other = made("a"), made("b")
    text = rules_yml([one, other])

    assert text == rules_yml([other, one])
    assert {window for _, *pair in BURNS.values() for window in pair} == set(WINDOWS)
    assert all(text.count(f"mlauto:slow_ratio:rate{window}\n") == 2 for window in WINDOWS)
    assert all(text.count(f"mlauto:error_ratio:rate{window}\n") == 1 for window in WINDOWS)


def test_rules_ask_for_metrics_that_there_are(known: dict[str, set[str]]) -> None:
    """By the names and labels that the gateway renders; and a name that nobody has is found."""
    groups = yaml.safe_load(rules_yml([made()]))["groups"]
    expressions = [rule["expr"] for group in groups for rule in group["rules"]]

    assert strangers(expressions, known) == []
    odd = ["rate(mlauto_nothing_total[5m])", 'mlauto_verdict{state="x"}']
    assert strangers(odd, known) == ["mlauto_nothing_total", "mlauto_verdict.state"]


@pytest.mark.needs("promtool")
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    """Of several products, and of none."""
    for products in ([made("a"), made("b")], []):
        (tmp_path / "rules.yml").write_text(rules_yml(products))
        done = ran("promtool", "check", "rules", "--lint-fatal", "rules.yml", folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr

"""All alerts together: names, words, and that they ask for what there is. When they fire: `ops/alerts_test.yml`."""

import re

from mlauto.export.alerts import GROUPS, alerts_yml
from mlauto_tests.export.conftest import strangers

ALERTS = [alert for group in GROUPS.values() for alert in group]


def test_alerts_ask_for_metrics_that_there_are(known: dict[str, set[str]]) -> None:
    """By the names and labels that the gateway renders and the rules record."""
    assert strangers([alert.expr for alert in ALERTS], known) == []


def test_each_alert_says_what_and_what_to_do() -> None:
    """In sentences; its name once; critical, warning, or the one that is always there."""
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)
    assert {alert.severity for alert in ALERTS} == {"critical", "warning", "none"}
    assert [alert.name for alert in ALERTS if alert.severity == "none"] == ["Watchdog"]
    for alert in ALERTS:
        assert len(alert.summary) > 20, alert.name
        assert len(alert.action) > 20, alert.name
        assert alert.name in alerts_yml()


def test_words_name_only_labels_that_are_there(known: dict[str, set[str]]) -> None:
    """A placeholder without a value would be an empty place in a message."""
    for alert in ALERTS:
        used = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.action))
        names = re.findall(r"mlauto[_:][\w:]+", alert.expr)
        assert used <= set().union(*(known[name] for name in names)), alert.name
        assert not names or "product" in used, alert.name

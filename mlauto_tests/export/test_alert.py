"""One alert as Prometheus reads it."""

from mlauto.export.alert import Alert


def test_an_alert_becomes_a_rule() -> None:
    """`for` only where it has to last."""
    alert = Alert(name="Down", expr="up == 0", severity="critical", summary="It is down.", action="Start it.")

    assert alert.rule() == {
        "alert": "Down",
        "expr": "up == 0",
        "labels": {"severity": "critical"},
        "annotations": {"summary": "It is down.", "action": "Start it."},
    }
    lasting = Alert(name="D", expr="up", severity="none", summary="", action="", lasting="5m").rule()
    assert list(lasting) == ["alert", "expr", "for", "labels", "annotations"]
    assert lasting["for"] == "5m"

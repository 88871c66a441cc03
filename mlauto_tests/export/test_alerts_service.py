"""Burn rates: each watches a long window and a short one, against the limit of its own name."""

import pytest

from mlauto.export.alerts_service import GATEWAY, PLANE, SERVICE
from mlauto.export.rules import BURNS


@pytest.mark.parametrize("burn", BURNS)
@pytest.mark.parametrize(("kind", "share"), [("Error", "error"), ("Latency", "slow")])
def test_a_burn_rate_needs_both_windows(burn: str, kind: str, share: str) -> None:
    """The long one that it mattered, the short one that it goes on."""
    [alert] = [one for one in SERVICE if one.name == f"{kind}Budget{burn.capitalize()}"]
    _, long, short = BURNS[burn]

    assert f"mlauto:{share}_ratio:rate{long} >" in alert.expr
    assert f"and mlauto:{share}_ratio:rate{short} >" in alert.expr
    assert alert.expr.count(f'{share if share == "slow" else "error"}_limit{{burn="{burn}"}}') == 2


def test_what_is_absent_has_alerts_of_its_own() -> None:
    """No gateway asked, nothing from the control plane, no limits, no version."""
    names = {alert.name for alert in (*GATEWAY, *PLANE) if "absent(" in alert.expr or " unless on " in alert.expr}

    assert names == {"GatewayNotScraped", "ControlPlaneSilent", "RulesOutdated", "ProductNotServed"}

"""What a look at the live version leaves behind: records and events, when there is something to say."""

import dagster as dg

from mlauto.monitoring.incidents import Decision, Incident, open_incident
from mlauto.orchestration.live import observe
from mlauto.orchestration.sensors.report import report
from mlauto.orchestration.sensors.work import Tick
from mlauto.records import Action, Cause, Verdict
from mlauto_tests.orchestration.conftest import World

MADE = Decision(at=1.0, action=Action.RETRAIN, kind=Cause.QUALITY, why="mae")
INCIDENT = Incident(opened=1.0, version="1", cause="mae", action=Action.RETRAIN, decisions=(MADE,))


def test_the_same_is_reported_once_and_each_change_of_the_incident(released: World) -> None:
    """Its opening, a decision more; looking again at the same is no news. The tick's own record is always new."""
    released.serve([1.0] * 30, [1.0] * 30)
    seen = observe(released.platform, released.product)
    tick = Tick(instance=released.instance, cursors={"tides": {}})
    more = Incident(opened=1.0, version="1", cause="mae", action=Action.RETRAIN, decisions=(MADE, MADE))
    events = []
    for incident in (None, None, INCIDENT, INCIDENT, more, None):
        tick.events.clear()
        report(
            tick,
            released.platform,
            released.product,
            seen,
            verdict=seen.verdict,
            incident=incident,
            delivering=False,
        )
        events.append(len(tick.events))

    assert events == [5, 0, 5, 0, 5, 5]
    assert isinstance(tick.events[0], dg.AssetMaterialization)
    assert tick.events[0].metadata["incident_open"].value == 0
    assert released.store.read_record("tides", "verdict", Verdict) == seen.verdict
    assert released.store.record_path("tides", "live_tick").exists()
    assert open_incident(released.store, "tides") is None

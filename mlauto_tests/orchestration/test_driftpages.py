"""What people see of drift."""

import base64
import subprocess
import sys
import time

import dagster as dg
import numpy as np
import pytest

from mlauto.measured import DriftReport, Finding
from mlauto.monitoring.drift.counting import Tally
from mlauto.monitoring.drift.fitting import fit_profile
from mlauto.monitoring.drift.profile import Profile
from mlauto.orchestration.driftpages import explained, findings, picture
from mlauto.orchestration.live import observe
from mlauto_tests.orchestration.conftest import World

PNG = b"\x89PNG\r\n"


def finding(subject: str, *, alarmed: bool) -> Finding:
    return Finding(
        subject=subject, test="location", effect=0.3, low=0.1, high=0.5, margin=0.02, unit="sd", alarmed=alarmed
    )


def test_findings_are_a_table_with_effects() -> None:
    """What alarmed is marked; distances of what alarmed come first, though nothing alarms on them."""
    report = DriftReport(
        rows=500,
        since=0.0,
        until=1.0,
        findings=(finding("b", alarmed=True), finding("a", alarmed=False)),
        shown={"a": {"psi": 0.01, "js": 0.02}, "b": {"psi": 0.5, "ks": 0.3}},
    )
    shown = {name: value.value for name, value in findings(report).items()}

    assert "| ALARM | b: location moved by +0.30 sd | 0.1 | 0.5 | 0.02 |" in shown["drift"]
    assert shown["distances"].splitlines()[2].startswith("| b | 0.5 | 0.3 |")
    assert (shown["drift_rows"], shown["drift_alarms"]) == (500, 1)
    assert findings(None) == {}


def test_pictures_of_every_kind_of_column() -> None:
    """PNGs; none of a pair, or of a column without values."""
    dice = np.random.default_rng(0)
    profile = fit_profile(
        {"x$": dice.normal(size=5000), "few": [0, 1, 2] * 500, "c": ["a", "b"] * 500, "gone": [1.0, 2.0]}
    )
    counts = Tally(profile).rows([{"x$": 1.0, "few": 1, "c": "new"}] * 20)

    for subject in ("x$", "few", "c"):
        drawn = picture(subject, profile, counts)
        assert drawn is not None
        assert drawn.startswith(PNG)
    assert picture("gone", profile, counts) is None
    assert picture("x$ ~ few", profile, counts) is None
    assert picture("c", fit_profile({"c": [None]}), counts) is None


def drifted(released: World) -> DriftReport:
    """Users who ask about another world, and what the next look says of it."""
    dice = np.random.default_rng(1)
    folder = released.platform.settings.product_home("tides") / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(400):
        x = float(dice.normal()) + 50
        lines.append(
            f'{{"id":"00000000-{number:08x}-0000","t":{time.time()},"v":"1",'
            f'"ms":1.0,"rows":[{{"x":{x},"hour":{number % 24}}}],"y":[{x}]}}\n'
        )
    (folder / "predictions-00000000.jsonl").write_text("".join(lines))
    report = observe(released.platform, released.product).metrics.drifted
    assert report is not None
    return report


def test_an_alarm_is_drawn_and_explained(released: World) -> None:
    """A picture of the column that moved, and the classifier's word for it."""
    assert "x" in {found.subject for found in drifted(released).alarmed}
    metrics = observe(released.platform, released.product).metrics
    shown = {name: value.value for name, value in explained(released.platform, released.product, metrics).items()}

    image = shown["drift_of_x"].removeprefix("![x](data:image/png;base64,").removesuffix(")")
    assert base64.b64decode(image).startswith(PNG)
    assert shown["told_apart_auc"] == pytest.approx(1.0, abs=0.02)
    assert shown["told_apart_by"].splitlines()[2].startswith("| x |")


def test_without_an_alarm_nothing_is_drawn(released: World) -> None:
    """Nor without a report, or a profile."""
    metrics = observe(released.platform, released.product).metrics
    assert metrics.drifted is None
    assert explained(released.platform, released.product, metrics) == {}

    drifted(released)
    metrics = observe(released.platform, released.product).metrics
    released.store.record_path("tides", "profiles/1").unlink()
    assert released.store.read_record("tides", "profiles/1", Profile) is None
    assert explained(released.platform, released.product, metrics) == {}


def test_importing_it_costs_a_tick_nothing() -> None:
    """Neither matplotlib nor scikit-learn is loaded before something is drawn or explained."""
    code = (
        "import sys, mlauto.orchestration.driftpages\n"
        "print([m for m in ('matplotlib', 'sklearn', 'pandas', 'pyarrow') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_person_sees_pictures_and_the_sensor_the_table(released: World) -> None:
    """Both say the same in the check; only the materialization by hand draws."""
    drifted(released)
    tick = released.tick("live")
    [seen] = [event for event in tick.asset_events if isinstance(event, dg.AssetMaterialization)]
    done = released.run(dg.RunRequest(asset_selection=[dg.AssetKey(["tides", "live_metrics"])]))
    [made] = done.asset_materializations_for_node("tides__live_metrics")
    warned = [check for check in done.get_asset_check_evaluations() if check.check_name == "drift"]

    assert "drift_of_x" in made.metadata
    assert "told_apart_by" in made.metadata
    assert set(made.metadata) - set(seen.metadata) >= {"drift_of_x", "told_apart_by", "told_apart_auc"}
    assert "ALARM" in str(seen.metadata["drift"].value)
    assert [(check.passed, check.severity) for check in warned] == [(False, dg.AssetCheckSeverity.WARN)]
    assert str(warned[0].description).startswith("x: 100 % of values lie far outside the reference")

"""A real stream through the real loop: batches land, traffic and labels follow, retraining happens by itself."""

from pathlib import Path

import pytest

from mlauto.commands.backtest_bench import Bench, Job
from mlauto.commands.history import Plan
from mlauto.commands.replay import PRODUCT, run_replay
from mlauto.product_training import POLICIES
from mlauto.settings import Settings

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.mark.needs("streams")
@pytest.mark.timeout(400)
def test_eight_batches_of_bike_sharing_drive_the_loop(tmp_path: Path, streams: Path, settings: Settings) -> None:
    """Eight live batches without a failed request; the growing loss retrains, when and as a backtest foretells."""
    result = run_replay(
        settings,
        streams / "bike_hourly.csv",
        target="target",
        task="regression",
        timestamp="timestamp",
        exclude=("casual", "registered"),
        batches=50,
        initial=5,
        most=8,
        report=tmp_path / "report.html",
    )

    assert len(result.batches) == 8
    assert result.failed_requests == 0
    assert result.requests == 8 * 7
    assert result.quarantined == 0
    assert result.trainings > 0, "nothing was retrained although spring is not winter"
    assert result.renewals > 1, "its fits were never averaged anew"
    assert result.rollouts > 1
    assert 15 < result.prequential < 80
    assert "data:image/png;base64" in (tmp_path / "report.html").read_text()
    team = settings.root / ".mlauto-replay" / "models" / PRODUCT
    plan = Plan(target="target", task="regression", timestamp="timestamp", exclude=("casual", "registered"))
    data = streams / "bike_hourly.csv"
    job = Job(data=data, plan=plan, model=f"{PRODUCT}.model:build", root=team, cache=tmp_path / "kept")
    foretold = Bench(job).play(POLICIES["economy"]).steps[:8]
    assert [batch.loss for batch in result.batches] == pytest.approx([step.loss for step in foretold])
    assert [int(batch.version) - 1 for batch in result.batches] == [step.model for step in foretold]

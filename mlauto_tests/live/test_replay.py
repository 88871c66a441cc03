"""A real stream through the real loop: batches land, traffic and labels follow, retraining happens by itself."""

from pathlib import Path

import pytest

from mlauto.commands.replay import run_replay
from mlauto.settings import Settings

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.mark.needs("streams")
@pytest.mark.timeout(400)
def test_ten_batches_of_bike_sharing_drive_the_loop(tmp_path: Path, streams: Path, settings: Settings) -> None:
    """Ten live batches are predicted without a failed request, and the loss that grows with the season retrains."""
    result = run_replay(
        settings,
        streams / "bike_hourly.csv",
        target="target",
        task="regression",
        timestamp="timestamp",
        exclude=("casual", "registered"),
        batches=50,
        initial=5,
        most=10,
        report=tmp_path / "report.html",
    )

    assert len(result.batches) == 10
    assert result.failed_requests == 0
    assert result.requests == 10 * 7
    assert result.quarantined == 0
    assert result.trainings > 1, "nothing was retrained although spring is not winter"
    assert result.rollouts > 1
    assert 15 < result.prequential < 80
    assert "data:image/png;base64" in (tmp_path / "report.html").read_text()

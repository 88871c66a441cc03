"""The demo's traffic; the demo itself is run as a user runs it, by `make demo`."""

from itertools import islice

from mlauto.commands.demo import DRIFT_AT, NOT_FEATURES, LiveStream
from mlauto.commands.stream import DemandStream


def test_live_traffic_follows_the_stream_and_jumps_where_it_is_told() -> None:
    """One row per request, features only, its label beside it; after the jump the new world's prices."""
    stream = DemandStream(seed=7, drift_at=DRIFT_AT)
    live = LiveStream(stream, 100)
    requests = iter(live)

    before = list(islice(requests, 20))
    live.jump(DRIFT_AT)
    after = list(islice(requests, 20))

    frame = stream.frame(100, 20)
    assert [request.labels for request in before] == [[value] for value in frame["demand"].tolist()]
    assert all(len(request.rows) == 1 for request in before)
    assert not set(NOT_FEATURES) & set(before[0].rows[0])
    assert max(float(str(request.rows[0]["price"])) for request in before) < 30
    assert min(float(str(request.rows[0]["price"])) for request in after) > 30

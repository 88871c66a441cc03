"""The table of names: each is one that the gateway shows, and says what it is."""

from mlauto.monitoring.gaugenames import GAUGES
from mlauto.serving.measured import LABEL, MOST_LABELS, NAME, OWN
from mlauto.serving.metrics import FAMILIES


def test_each_name_is_one_that_the_gateway_takes() -> None:
    """By its own patterns; counters end in _total, and nothing else does."""
    for name, family in GAUGES.items():
        assert NAME.fullmatch(name)
        assert all(LABEL.fullmatch(label) for label in family.labels)
        assert len(family.labels) <= MOST_LABELS
        assert (family.kind == "counter") == name.endswith("_total")
        assert family.help.endswith((".", ").")), name
    assert not set(GAUGES) & (set(FAMILIES) | set(OWN))

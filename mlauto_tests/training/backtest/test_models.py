"""What determines a model of a replay."""

from dataclasses import replace

from mlauto.training.backtest.models import Model
from mlauto.training.weighting import ALL


def test_what_was_known_when_it_was_made() -> None:
    """The batches it was fitted on, or those that its fits were averaged anew after."""
    model = Model(batches=5, members=ALL)

    assert model.known == 5
    assert replace(model, learned=8).known == 8

"""What images are called."""

import dataclasses
from pathlib import Path

from mlauto.runtime.names import repository, slug
from mlauto.settings import Settings


def test_names_are_what_every_registry_takes() -> None:
    """Small letters, digits, single dashes; never empty."""
    assert slug("bike_demand") == "bike-demand"
    assert slug("A__b_") == "a-b"
    assert slug("___") == "model"


def test_two_state_directories_have_two_names(settings: Settings) -> None:
    """On one engine, neither takes the other's tags."""
    other = dataclasses.replace(settings, home=Path("/elsewhere"))

    assert repository(settings, "bikes") != repository(other, "bikes")
    assert repository(settings, "bikes").startswith("mlauto/")
    assert repository(settings, "bikes").endswith("/bikes")

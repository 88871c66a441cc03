"""The product that ships with mlauto, set up in an installation: its YAML, its model repository, its data files."""

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from mlauto.commands.stream import DemandStream
from mlauto.settings import PACKAGE, Settings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FIRST_ROWS", "PRODUCT", "TARGET", "TIMESTAMP", "define", "land", "make_example", "make_model_repository"]

PRODUCT = "demand"
TARGET = "demand"
TIMESTAMP = "timestamp"
FIRST_ROWS = 8760  # a whole year, so that no season is new to the model


def define(settings: Settings, *, retrain: str = "economy") -> None:
    """Copy the product's YAML and expectations into the defs folder of a scratch installation."""
    folder = settings.defs / PRODUCT
    shutil.copytree(PACKAGE / "defs" / PRODUCT, folder)
    document = yaml.safe_load((folder / "defs.yaml").read_text())
    document["attributes"]["training"]["retrain"] = retrain
    (folder / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def make_model_repository(settings: Settings, stream: DemandStream) -> Path:
    """A git repository with the product's model and its tests; where it is."""
    from mlauto.commands.new import make_repository
    from mlauto.commands.proposal import propose

    place = settings.root / "models" / PRODUCT
    frame = stream.frame(0, 1000)
    proposal = propose(frame, target=TARGET, task="regression", timestamp=TIMESTAMP, exclude=())
    make_repository(place, PRODUCT, proposal)
    return place


def land(settings: Settings, frame: "pd.DataFrame", name: str) -> None:
    """Drop a data file into the landing folder as a whole, with an old time, so that nobody waits for its end."""
    folder = settings.root / "landing" / PRODUCT
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.part"
    frame.to_csv(partial, index=False)
    os.utime(partial, (time.time() - 60,) * 2)
    os.replace(partial, folder / name)


def make_example(settings: Settings) -> bool:
    """Make repository and first data file of the shipped product where they are missing; True when they were."""
    if settings.defs != PACKAGE / "defs" or (settings.root / "models" / PRODUCT).exists():
        return False
    stream = DemandStream()
    make_model_repository(settings, stream)
    land(settings, stream.frame(0, FIRST_ROWS), "2025.csv")
    return True
